//! Replies that wait behind one that is not there yet.
//!
//! Each request that is answered elsewhere has a *place*. What is answered behind the first such
//! place, here or elsewhere, waits in one buffer, in the order in which it came; a place knows
//! its part of the buffer. When the first place is answered, what stands behind it leaves in the
//! order of the places. The buffer is kept for the next time: a reply costs no allocation.

use std::collections::VecDeque;
use std::ops::Range;

use crate::resp::encode::Output;

/// Places whose memory a connection keeps while none is taken: pipelines of 64, with what is
/// answered here between them.
const PLACES_KEPT_MAX: usize = 128;
/// Bytes that have left are cut out of the buffer when there are so many and they are the
/// greater part, so that a connection on which something always waits does not grow for ever.
const GONE_BYTES_MAX: usize = 16 * 1024;

/// What is to be known of a request that is answered elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// A write, which later writes elsewhere must not overtake.
    pub write: bool,
    /// It runs as soon as it arrives, since its connection holds its keys.
    pub sure: bool,
    /// A transaction that the connection's next one need not wait for.
    pub flows: bool,
    /// Its reply is to be dropped (CLIENT REPLY).
    pub silent: bool,
}

/// A place in the order of replies.
enum Place {
    /// Being answered elsewhere.
    Waiting(Request),
    /// Answered: a part of the buffer.
    Ready(Range<usize>),
    /// The last place: what is answered here, from this offset to the end of the buffer.
    Open(usize),
}

/// The places of a connection, and the replies that wait in them.
#[derive(Default)]
pub struct Held {
    places: VecDeque<Place>,
    /// The number of the first place.
    base: u32,
    /// Replies that are there, in the order in which they came.
    output: Output,
    /// Bytes of `output.buf` that have left.
    gone: usize,
}

impl Held {
    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Places that are taken.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of replies that are there.
    pub fn bytes(&self) -> usize {
        self.output.len() - self.gone
    }

    /// Where the next local reply goes, behind everything that waits.
    pub fn target(&mut self) -> &mut Output {
        if !matches!(self.places.back(), Some(Place::Open(_))) {
            self.places.push_back(Place::Open(self.output.buf.len()));
        }
        &mut self.output
    }

    /// Takes the next place. Returns its number.
    pub fn push(&mut self, request: Request) -> u32 {
        self.close();
        let number = self.base.wrapping_add(self.places.len() as u32);
        self.places.push_back(Place::Waiting(request));
        number
    }

    /// The last place is answered whatever CLIENT REPLY says.
    pub fn let_last_be_heard(&mut self) {
        if let Some(Place::Waiting(request)) = self.places.back_mut() {
            request.silent = false;
        }
    }

    /// The reply for a place, written by `fill`; it and whatever may leave behind it go to the
    /// end of `out`. Returns what was asked.
    pub fn complete(
        &mut self,
        number: u32,
        out: &mut Output,
        fill: impl FnOnce(&mut Output),
    ) -> Request {
        let at = number.wrapping_sub(self.base) as usize;
        let request = self.request(at);
        if at > 0 {
            self.close();
            let from = self.output.buf.len();
            write(&mut self.output, request, fill);
            self.places[at] = Place::Ready(from..self.output.buf.len());
            return request;
        }
        self.places.pop_front();
        self.base = self.base.wrapping_add(1);
        write(out, request, fill);
        self.leave(out);
        request
    }

    /// The replies for so many places one after the other, none of which is silent, written by `fill`.
    /// `asked` hears what was asked, of each.
    pub fn complete_run(
        &mut self,
        number: u32,
        count: u32,
        out: &mut Output,
        fill: impl FnOnce(&mut Output),
        mut asked: impl FnMut(Request),
    ) {
        let at = number.wrapping_sub(self.base) as usize;
        if at > 0 {
            self.close();
        }
        let from = self.output.buf.len();
        for place in at..at + count as usize {
            let request = self.request(place);
            assert!(!request.silent, "its reply comes by itself");
            asked(request);
            self.places[place] = Place::Ready(from..from);
        }
        if at > 0 {
            fill(&mut self.output);
            self.places[at] = Place::Ready(from..self.output.buf.len());
            return;
        }
        self.places.drain(..count as usize);
        self.base = self.base.wrapping_add(count);
        fill(out);
        self.leave(out);
    }

    /// What was asked of a place that waits.
    fn request(&self, at: usize) -> Request {
        let Some(&Place::Waiting(request)) = self.places.get(at) else {
            unreachable!("a place is answered once");
        };
        request
    }

    /// Moves what nothing stands before any more.
    fn leave(&mut self, out: &mut Output) {
        loop {
            let range = match self.places.front() {
                Some(Place::Ready(range)) => range.clone(),
                Some(Place::Open(from)) => *from..self.output.buf.len(),
                Some(Place::Waiting(_)) | None => break,
            };
            self.places.pop_front();
            self.base = self.base.wrapping_add(1);
            self.gone += range.len();
            move_range(&mut self.output, range, out);
        }
        if self.gone == self.output.buf.len() {
            // Places that are left have no bytes; the last may get some.
            self.output.clear();
            self.gone = 0;
            if let Some(Place::Open(from)) = self.places.back_mut() {
                *from = 0;
            }
        } else if self.gone > GONE_BYTES_MAX.max(self.output.buf.len() / 2) {
            self.compact();
        }
        if self.places.is_empty() && self.places.capacity() > PLACES_KEPT_MAX {
            self.places = VecDeque::new();
        }
    }

    /// Cuts out what has left.
    fn compact(&mut self) {
        let mut left = Output::default();
        left.buf.reserve(self.output.buf.len() - self.gone);
        for place in &mut self.places {
            let from = left.buf.len();
            match place {
                Place::Waiting(_) => {}
                Place::Ready(range) => {
                    move_range(&mut self.output, range.clone(), &mut left);
                    *range = from..left.buf.len();
                }
                Place::Open(start) => {
                    let end = self.output.buf.len();
                    move_range(&mut self.output, *start..end, &mut left);
                    *start = from;
                }
            }
        }
        self.output = left;
        self.gone = 0;
    }

    /// What is answered here ends where the next reply begins.
    fn close(&mut self) {
        if let Some(place) = self.places.back_mut()
            && let Place::Open(from) = *place
        {
            *place = Place::Ready(from..self.output.buf.len());
        }
    }

    /// Whether [`lend_buffer`](Self::lend_buffer) would be of use.
    pub fn wants_buffer(&self) -> bool {
        self.output.buf.capacity() == 0
    }

    /// Gives memory for replies that wait.
    pub fn lend_buffer(&mut self, buf: Vec<u8>) {
        assert!(self.wants_buffer() && buf.is_empty(), "nothing is lost");
        self.output.buf = buf;
    }

    /// Takes the memory back when nothing waits.
    pub fn take_buffer(&mut self) -> Option<Vec<u8>> {
        let unused = self.places.is_empty() && self.output.buf.capacity() > 0;
        unused.then(|| std::mem::take(&mut self.output.buf))
    }
}

/// Lets a reply be written at the end of `out`, and drops it if nobody wants it.
fn write(out: &mut Output, request: Request, fill: impl FnOnce(&mut Output)) {
    let (bytes, shared) = (out.buf.len(), out.shared.len());
    fill(out);
    if request.silent {
        out.buf.truncate(bytes);
        out.shared.truncate(shared);
    }
}

/// Appends a part of `from` to `to`, with the large values in it; what is left of these there is
/// empty. A large value stands inside of its reply, never at its ends, so it is clear whose it is.
fn move_range(from: &mut Output, range: Range<usize>, to: &mut Output) {
    if range.is_empty() {
        return;
    }
    let base = to.buf.len();
    to.buf.extend_from_slice(&from.buf[range.clone()]);
    let first = from.shared.partition_point(|(at, _)| *at < range.start);
    for (at, bytes) in &mut from.shared[first..] {
        if *at >= range.end {
            break;
        }
        let bytes = std::mem::take(bytes);
        to.shared.push((base + *at - range.start, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Version;
    use crate::resp::encode::Reply;
    use bytes::Bytes;

    fn put(text: &str) -> impl FnOnce(&mut Output) {
        move |out| out.buf.extend_from_slice(text.as_bytes())
    }

    #[test]
    fn replies_leave_in_the_order_of_the_requests() {
        let (mut held, mut out) = (Held::default(), Output::default());
        let first = held.push(Request::default());
        put("2")(held.target());
        put("3")(held.target());
        let second = held.push(Request::default());
        put("5")(held.target());
        held.complete(second, &mut out, put("4"));
        put("6")(held.target());
        assert_eq!((out.buf.len(), held.bytes()), (0, 5));
        held.complete(first, &mut out, put("1"));
        assert_eq!(out.buf, b"123456");
        assert!(held.is_empty() && held.bytes() == 0);
        let third = held.push(Request::default());
        held.complete(third, &mut out, put("7"));
        assert_eq!(out.buf, b"1234567");
    }

    #[test]
    fn what_nobody_wants_is_dropped_wherever_it_stands() {
        let (mut held, mut out) = (Held::default(), Output::default());
        let silent = Request {
            silent: true,
            ..Request::default()
        };
        let (a, b, c) = (held.push(silent), held.push(silent), held.push(silent));
        put("x")(held.target());
        held.complete(b, &mut out, put("b"));
        held.complete(a, &mut out, put("a"));
        assert!(out.is_empty());
        held.complete(c, &mut out, put("c"));
        assert_eq!(out.buf, b"x");
    }

    /// Against a model, in any order of answers, with large values among them.
    #[test]
    fn any_order_of_answers_gives_the_order_of_requests() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let (mut held, mut out) = (Held::default(), Output::default());
            let (mut wanted, mut open) = (Output::default(), Vec::new());
            for step in 0..rng.usize(1..400) {
                let mut value = vec![b'0' + (step % 10) as u8; rng.usize(1..90)];
                if rng.u8(..) < 10 {
                    value = vec![b'x'; 20_000];
                }
                let value = Bytes::from(value);
                let reply = |out: &mut Output| {
                    Reply::new(out, Version::Resp2).bulk_shared(&value);
                };
                if rng.u8(..) < 30 && !held.is_empty() {
                    held.target(); // nothing comes of it
                    continue;
                }
                let silent = rng.u8(..) < 20;
                if silent {
                    let request = Request {
                        silent,
                        ..Request::default()
                    };
                    open.push((held.push(request), value.clone()));
                    continue;
                }
                if rng.bool() || held.is_empty() {
                    open.push((held.push(Request::default()), value.clone()));
                } else {
                    reply(held.target());
                }
                reply(&mut wanted);
                while open.len() > rng.usize(1..60) {
                    let at = rng.usize(..open.len());
                    let mut run: Vec<_> = open[at..].iter().take(rng.usize(1..5)).collect();
                    let first = run[0].0;
                    run.retain({
                        let mut next = first;
                        move |(number, _)| {
                            next += 1;
                            *number == next - 1
                        }
                    });
                    let is_silent = |number| held.request((number - held.base) as usize).silent;
                    if run.len() > 1 && run.iter().all(|(number, _)| !is_silent(*number)) {
                        let count = run.len();
                        let fill = |out: &mut Output| {
                            for (_, value) in run {
                                Reply::new(out, Version::Resp2).bulk_shared(value);
                            }
                        };
                        held.complete_run(first, count as u32, &mut out, fill, |_| {});
                        open.drain(at..at + count);
                        continue;
                    }
                    let (number, value) = open.remove(at);
                    held.complete(number, &mut out, |out| {
                        Reply::new(out, Version::Resp2).bulk_shared(&value);
                    });
                }
            }
            for (number, value) in open {
                held.complete(number, &mut out, |out| {
                    Reply::new(out, Version::Resp2).bulk_shared(&value);
                });
            }
            assert!(held.is_empty() && held.bytes() == 0);
            assert_eq!((out.buf, out.shared), (wanted.buf, wanted.shared));
        }
    }
}

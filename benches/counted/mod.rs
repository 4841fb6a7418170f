//! Instructions that one call of a piece of code costs, counted by valgrind's callgrind: a figure
//! that does not depend on who else uses the machine.
//!
//! A bench that uses this understands `once CASE CALLS [SIZE]`, which builds what the case works on and
//! then makes that many calls in [`region`]. [`print`] runs the bench's own binary twice for each case
//! under valgrind, with few and with many calls: the difference leaves out what is not the calls'.
//! Outside the region valgrind only translates, so that building millions of elements takes seconds.

#![expect(unsafe_code, reason = "callgrind is spoken to by instructions")]

use std::arch::asm;
use std::process::Command;

/// Callgrind's requests to begin and to end counting (valgrind/callgrind.h, `'C', 'T'` and a number).
const START: u64 = 0x4354_0004;
const STOP: u64 = 0x4354_0005;

/// The calls of the two runs of a case.
pub struct Calls {
    /// Enough to have passed everything that happens only in the beginning.
    pub few: usize,
    /// Enough more for an average.
    pub many: usize,
}

impl Calls {
    /// For calls without a history.
    pub const USUAL: Self = Self {
        few: 1000,
        many: 3000,
    };
}

/// Prints the instructions of one call of each case whose name contains `filter`: one figure, or one
/// for each of `sizes`, which a run is told as its last argument.
pub fn print(cases: &[&str], sizes: &[usize], calls: &Calls, filter: &str) {
    if !sizes.is_empty() {
        let heads: String = sizes.iter().map(|size| format!(" {size:>10}")).collect();
        println!("{:24}{heads}", "instructions a call");
    }
    for case in cases.iter().filter(|case| case.contains(filter)) {
        if sizes.is_empty() {
            let each = each(case, None, calls);
            println!("{case:24} {each:10.1} instructions a call");
            continue;
        }
        let row: String = sizes
            .iter()
            .map(|size| format!(" {:10.1}", each(case, Some(*size), calls)))
            .collect();
        println!("{case:24}{row}");
    }
}

/// Does the work whose instructions are counted.
pub fn region(work: impl FnOnce()) {
    request(START);
    work();
    request(STOP);
}

/// A client request as valgrind/valgrind.h has it for x86-64: rotations of RDI by 128 in all and an
/// exchange of a register with itself, which do nothing on a processor.
fn request(code: u64) {
    let args = [code, 0, 0, 0, 0, 0];
    // SAFETY: without valgrind no register but the flags changes; under it RDX becomes the answer, and
    // the six words that RAX names are read, which outlive the instructions.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") args.as_ptr(),
            inout("rdx") 0_u64 => _,
            options(nostack, readonly),
        );
    }
}

/// Instructions of one call.
fn each(case: &str, size: Option<usize>, calls: &Calls) -> f64 {
    let (few, many) = (
        collected(case, calls.few, size),
        collected(case, calls.many, size),
    );
    (many - few) as f64 / (calls.many - calls.few) as f64
}

/// Instructions of a whole run.
fn collected(case: &str, calls: usize, size: Option<usize>) -> u64 {
    let own = std::env::current_exe().expect("a bench is a file");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--instr-atstart=no"])
        .arg(own)
        .args(["once", case, &calls.to_string()])
        .args(size.map(|size| size.to_string()))
        .output()
        .expect("valgrind starts: the package `valgrind` has it");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {text}");
    text.lines()
        .find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
        .unwrap_or_else(|| panic!("{case}: callgrind says what it has counted: {text}"))
}

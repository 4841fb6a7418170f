//! Instructions that one call of a piece of code costs, counted by valgrind's callgrind: a figure
//! that does not depend on who else uses the machine.
//!
//! [`print`] runs the bench's own binary under valgrind with the arguments `once CASES FEW MANY
//! [SIZE]`. There the bench builds something of that size, and [`cases`] makes FEW and then MANY calls
//! of each case: what the one costs beyond the other leaves out what is not the calls'. Cases that
//! leave what they work on as they found it share a run, since building millions of elements is what
//! takes the time. Where nothing is counted valgrind only translates.

#![expect(unsafe_code, reason = "callgrind is spoken to by instructions")]

use std::arch::asm;
use std::ffi::CString;
use std::path::Path;
use std::process::Command;

/// Callgrind's requests (valgrind/callgrind.h, `'C', 'T'` and a number): write what was counted to a
/// file and begin with zero again, begin to count, stop.
const DUMP_AS: u64 = 0x4354_0003;
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

/// Prints a line for each case whose name contains `filter`: the instructions of one call, at each of
/// the sizes if there are any. The cases of a group share what they work on.
pub fn print(groups: &[&[&str]], sizes: &[usize], calls: &Calls, filter: &str) {
    let heads: String = sizes.iter().map(|size| format!(" {size:>10}")).collect();
    println!("{:24}{heads}", "instructions a call");
    let columns: Vec<Option<usize>> = match sizes {
        [] => vec![None],
        sizes => sizes.iter().copied().map(Some).collect(),
    };
    for group in groups {
        let chosen = group.iter().copied().filter(|case| case.contains(filter));
        let chosen: Vec<&str> = chosen.collect();
        if chosen.is_empty() {
            continue;
        }
        let each = columns.iter().map(|size| column(&chosen, *size, calls));
        let each: Vec<Vec<f64>> = each.collect();
        for (at, case) in chosen.iter().enumerate() {
            let row: String = each.iter().map(|c| format!(" {:10.1}", c[at])).collect();
            println!("{case:24}{row}");
        }
    }
}

/// In a run that [`print`] has started: has `run` make the calls of each case that the arguments name.
pub fn cases(args: &[String], mut run: impl FnMut(&str, usize)) {
    let [_, cases, few, many, ..] = args else {
        panic!("once CASES FEW MANY [SIZE]")
    };
    for case in cases.split(',') {
        for calls in [few, many] {
            let calls = calls.parse().expect("a number of calls");
            request(START, 0);
            run(case, calls);
            request(STOP, 0);
            dump(case);
        }
    }
}

/// Writes what was counted since the last time to a file that tells of `case`.
fn dump(case: &str) {
    let name = CString::new(case).expect("names of cases have no zero");
    request(DUMP_AS, name.as_ptr().addr() as u64);
}

/// A client request as valgrind/valgrind.h has it for x86-64: rotations of RDI by 128 in all and an
/// exchange of a register with itself, which do nothing on a processor.
fn request(code: u64, about: u64) {
    let args = [code, about, 0, 0, 0, 0];
    // SAFETY: without valgrind no register but the flags changes; under it RDX becomes the answer, and
    // the six words that RAX names are read, which outlive the instructions, and so does what they
    // point to.
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

/// Instructions of one call of each case, all from one run.
fn column(cases: &[&str], size: Option<usize>, calls: &Calls) -> Vec<f64> {
    let folder = std::env::temp_dir().join(format!("ringdove-counts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for callgrind's files");
    callgrind(&folder.join("counts"), cases, size, calls);
    // Each dump is a file of its own, numbered from 1.
    let total = |dump: usize| {
        let path = folder.join(format!("counts.{}", dump + 1));
        let text = std::fs::read_to_string(&path).expect("a file for each dump");
        let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = line.and_then(|total| total.trim().parse::<u64>().ok());
        total.unwrap_or_else(|| panic!("{} has a total", path.display()))
    };
    let each = |at: usize| {
        let more = total(2 * at + 1) as f64 - total(2 * at) as f64;
        more / (calls.many - calls.few) as f64
    };
    let column = (0..cases.len()).map(each).collect();
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    column
}

/// Runs this bench's binary under valgrind, whose files begin with `out`.
fn callgrind(out: &Path, cases: &[&str], size: Option<usize>, calls: &Calls) {
    let own = std::env::current_exe().expect("a bench is a file");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg("--instr-atstart=no")
        .arg(own)
        .args(["once", &cases.join(",")])
        .args([calls.few, calls.many].map(|calls| calls.to_string()))
        .args(size.map(|size| size.to_string()))
        .output()
        .expect("valgrind starts: the package `valgrind` has it");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{cases:?}: {told}");
}

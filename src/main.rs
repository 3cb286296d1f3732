//! `platen`, the firmware: `run` is the box; the other commands look at printers, recordings and the running box.
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 it did not work, 2 asked wrongly.

use std::process::ExitCode;

fn main() -> ExitCode {
    platen::cli::main()
}

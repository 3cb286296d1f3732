//! `platen test`: the console's self-test.

use std::path::Path;
use std::process::ExitCode;

use super::{Failure, block_on, print, print_json};
use crate::agent::Config;
use crate::console::selftest::{self, LineJson, Verdict};

/// Exit code of a test that failed.
const FAILED: u8 = 1;

pub(super) fn test(config: &Path, printer: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let config = Config::load(config).map_err(Failure::usage)?;
    let (verdict, lines) = block_on(async {
        let mut lines = Vec::new();
        let mut unprinted = None;
        let verdict = selftest::run(&config, printer, |line| {
            if !json && unprinted.is_none() {
                unprinted = print(&line.to_string()).err();
            }
            lines.push(LineJson::from(&line));
        })
        .await;
        unprinted.map_or(Ok((verdict, lines)), Err)
    })?;
    if json {
        let cause = match &verdict {
            Verdict::Passed => None,
            Verdict::Failed(finding) => Some(finding.word.word),
        };
        let word = if cause.is_none() { "passed" } else { "failed" };
        print_json(&serde_json::json!({ "verdict": word, "cause": cause, "steps": lines }))?;
    } else {
        print(&verdict.to_string())?;
    }
    Ok(if verdict.has_passed() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

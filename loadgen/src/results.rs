//! Where results go: the table, JSON, percentile files, the page.

use std::fs;

use crate::bench::Outcome;
use crate::config::Config;
use crate::{hgrm, json, table};

fn save(option: &str, path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{option} {path}: {error}"))
}

/// Writes everything that was asked for. The error names the option whose file could not be written.
pub(crate) fn write(config: &Config, outcome: &Outcome) -> Result<(), String> {
    let text = table::render(config, outcome);
    match &config.out_file {
        Some(path) => save("--out-file", path, &text)?,
        None => print!("{text}"),
    }
    if let Some(path) = &config.json_out_file {
        let value = json::outcome(config, outcome);
        save("--json-out-file", path, &format!("{value:#}\n"))?;
    }
    if let Some(prefix) = &config.hdr_file_prefix {
        for (number, run) in outcome.runs.iter().enumerate() {
            let number = number + 1;
            let path = format!("{prefix}_FULL_RUN_{number}.hgrm");
            let text = hgrm::percentile_distribution(&run.total().latency);
            save("--hdr-file-prefix", &path, &text)?;
            for (name, line) in run.names.iter().zip(&run.lines) {
                let word: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                    .collect();
                let word = word.trim_end_matches('s').to_ascii_uppercase();
                let path = format!("{prefix}_{word}_command_run_{number}.hgrm");
                let text = hgrm::percentile_distribution(&line.latency);
                save("--hdr-file-prefix", &path, &text)?;
            }
        }
    }
    if let Some(path) = &config.client_stats {
        let mut text = "run,thread,client,requests,bytes_sent,bytes_received\n".to_string();
        for (run_number, run) in outcome.runs.iter().enumerate() {
            for (thread_number, thread) in run.threads.iter().enumerate() {
                for (client, [requests, sent, received]) in thread.clients.iter().enumerate() {
                    let run_number = run_number + 1;
                    text.push_str(&format!(
                        "{run_number},{thread_number},{client},{requests},{sent},{received}\n"
                    ));
                }
            }
        }
        save("--client-stats", path, &text)?;
    }
    if let Some(path) = &config.report {
        let page = crate::report::page(&json::outcome(config, outcome));
        save("--report", path, &page)?;
    }
    Ok(())
}

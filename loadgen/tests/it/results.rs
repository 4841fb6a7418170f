//! What is written at the end: tables, JSON, percentile files, the page, comparisons.

use crate::{Folder, Redis, load};

#[test]
fn all_files_are_written_and_agree() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let (prefix, page, clients) = (
        folder.file("hdr"),
        folder.file("out.html"),
        folder.file("clients.csv"),
    );
    let done = load(&format!(
        "-p {} -t 2 -c 2 --test-time 0.6 --hdr-file-prefix {prefix} --report {page} --client-stats {clients} \
         --print-percentiles 50,99.99 --hide-histogram --show-config",
        redis.port
    ))
    .expect(0);
    assert!(!done.stdout.contains("Distribution") && done.stderr.contains("Config"));
    let total = done.count("Totals");
    assert_eq!(total, done.count("Sets") + done.count("Gets"));
    let series = done.json["ALL STATS"]["Totals"]["Time-Serie"]
        .as_object()
        .expect("a series");
    assert_eq!(
        series
            .values()
            .filter_map(|v| v["Count"].as_u64())
            .sum::<u64>(),
        total
    );
    assert!(done.json["ALL STATS"]["Gets"]["Percentile Latencies"]["p99.99"].is_f64());
    let hgrm = std::fs::read_to_string(format!("{prefix}_FULL_RUN_1.hgrm")).expect("a file");
    assert!(hgrm.contains(&format!("Total count    = {total:12}")));
    assert!(std::fs::metadata(format!("{prefix}_GET_command_run_1.hgrm")).is_ok());
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.contains("\"heat\""));
    let rows = std::fs::read_to_string(clients).expect("a file");
    let sum: u64 = rows
        .lines()
        .skip(1)
        .filter_map(|l| l.split(',').nth(3)?.parse::<u64>().ok())
        .sum();
    assert_eq!(sum, total);
    let generator = &done.run()["generator"];
    assert!(
        generator["requests per cpu second"].as_f64() > Some(1000.0),
        "{generator}"
    );
}

#[test]
fn several_runs_and_rates_have_tables_of_their_own() {
    let redis = Redis::start(&[]);
    let done = load(&format!("-p {} -t 1 -c 2 -n 200 -x 3", redis.port)).expect(0);
    for text in [
        "BEST RUN",
        "WORST RUN",
        "AGGREGATED AVERAGE RESULTS (3 runs)",
    ] {
        assert!(done.stdout.contains(text), "{text}");
    }
    assert!(done.json.get("RUN #3 STATS").is_some());
    let done = load(&format!(
        "-p {} -t 1 -c 2 --rate 500,1000 --test-time 0.4 --warmup 0.1",
        redis.port
    ))
    .expect(0);
    let runs = done.json["ringdove-load"]["runs"].as_array().expect("runs");
    let rates: Vec<f64> = runs.iter().filter_map(|r| r["rate"].as_f64()).collect();
    assert!(
        (rates[0] - 500.0).abs() < 60.0 && (rates[1] - 1000.0).abs() < 120.0,
        "{rates:?}"
    );
}

#[test]
fn a_comparison_tells_a_slow_server_from_a_fast_one_and_equals_apart() {
    use crate::stub::{Act, Stub};
    let redis = Redis::start(&[]);
    let slow =
        Stub::start(|_| Act::ReplyLater(std::time::Duration::from_millis(5), b"+OK\r\n".to_vec()));
    let folder = Folder::new();
    let page = folder.file("compare.html");
    let done = load(&format!(
        "compare redis=127.0.0.1:{} slow=127.0.0.1:{} -t 1 -c 2 -n 30 --ratio 1:0 --rounds 4 --report {page}",
        redis.port, slow.port
    ))
    .expect(0);
    let figures = done.json["compare"]["figures"].as_array().expect("figures");
    assert_eq!(figures[0]["name"], "requests per second");
    assert_eq!(figures[0]["verdict"], "differs");
    assert!(figures[0]["ratio"].as_f64() < Some(0.5));
    assert!(done.stdout.contains("redis is better"), "{}", done.stdout);
    assert!(
        std::fs::read_to_string(page)
            .expect("a page")
            .contains("\"verdict\"")
    );
    let port = redis.port;
    let pid = redis.pid();
    let done = load(&format!(
        "compare 127.0.0.1:{port} 127.0.0.1:{port} -t 1 -c 4 --test-time 0.3 --rounds 3 --pid-a {pid} --pid-b {pid} \
         --preload --key-maximum 2000"
    ))
    .expect(0);
    let figures = done.json["compare"]["figures"].as_array().expect("figures");
    assert!(
        figures
            .iter()
            .all(|f| f["verdict"] == "too few rounds to tell")
    );
    let cpu = figures
        .iter()
        .find(|f| f["name"] == "server CPU us per request")
        .expect("CPU time");
    assert!(cpu["a"]["median"].as_f64() > Some(0.5), "{cpu}");
    assert!(done.json["compare"]["servers"][0]["rss bytes per key"].is_f64());
}

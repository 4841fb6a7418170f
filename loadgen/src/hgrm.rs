//! HdrHistogram's percentile distribution as text (`.hgrm`), the form that its plotters read.
//! Format: HdrHistogram's `outputPercentileDistribution`, values in milliseconds, five steps for
//! each halving of the distance to 100 %.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

const STEPS_PER_HALVING: u32 = 5;

/// The text of a histogram of nanoseconds.
pub(crate) fn percentile_distribution(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for (value_ms, quantile, count) in percentiles(histogram) {
        // Writing to a String cannot fail.
        let _ = if quantile < 1.0 {
            writeln!(
                text,
                "{value_ms:12.6} {quantile:14.12} {count:10} {:14.2}",
                1.0 / (1.0 - quantile)
            )
        } else {
            writeln!(text, "{value_ms:12.6} {quantile:14.12} {count:10}")
        };
    }
    let ms = |ns: f64| ns / 1e6;
    let _ = writeln!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n#[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]",
        ms(histogram.mean()),
        ms(histogram.stdev()),
        ms(histogram.max() as f64),
        histogram.len(),
        histogram.buckets(),
        2048
    );
    text
}

/// (milliseconds, quantile, count up to it), as the text has them.
pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64, u64)> {
    let mut points = Vec::new();
    for step in histogram.iter_quantiles(STEPS_PER_HALVING) {
        let quantile = step.quantile_iterated_to();
        let value = step.value_iterated_to().min(histogram.max());
        let count = (quantile * histogram.len() as f64).ceil() as u64;
        points.push((
            value as f64 / 1e6,
            quantile,
            count.max(1).min(histogram.len()),
        ));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::latency_histogram;

    #[test]
    fn the_text_has_the_form_that_plotters_read() {
        let mut histogram = latency_histogram();
        for ms in 1..=1000u64 {
            histogram.saturating_record(ms * 1_000_000);
        }
        let text = percentile_distribution(&histogram);
        let mut lines = text.lines();
        assert!(
            lines
                .next()
                .is_some_and(|l| l.contains("Percentile TotalCount 1/(1-Percentile)"))
        );
        let row = text
            .lines()
            .find(|l| l.contains(" 0.500000000000 "))
            .expect("the median");
        let fields: Vec<&str> = row.split_whitespace().collect();
        assert!((fields[0].parse::<f64>().expect("ms") - 500.0).abs() < 1.0);
        assert_eq!((fields[2], fields[3]), ("500", "2.00"));
        assert!(text.contains("Total count    =         1000]"));
        let last = text.lines().rfind(|l| !l.starts_with('#')).expect("a row");
        assert_eq!(last.split_whitespace().count(), 3, "no 1/(1-1): {last}");
    }
}

//! The self-contained page: one HTML file with the results as JSON in it, drawn by a script of its
//! own. Nothing is loaded from anywhere.

use serde_json::Value;

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");

/// The page for the JSON of a run or of a comparison.
pub(crate) fn page(results: &Value) -> String {
    // A script element ends at the first "</", wherever it stands; so no text may hold one.
    let data = results.to_string().replace("</", "<\\/");
    PAGE.replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", SCRIPT)
        .replace("/*DATA*/", &data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_self_contained_and_cannot_be_broken_out_of() {
        let results = serde_json::json!({"configuration": {"server": "</script><b>"}});
        let page = page(&results);
        assert_eq!(
            page.matches("</script>").count(),
            2,
            "data and script, nothing else"
        );
        // The one address is the name of SVG's namespace, which nothing is fetched from.
        assert_eq!(
            page.matches("http://").count(),
            page.matches("http://www.w3.org/2000/svg").count()
        );
        for outside in [
            "https://",
            "src=",
            "@import",
            "url(",
            "/*DATA*/",
            "/*SCRIPT*/",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

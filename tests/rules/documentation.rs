//! That the pages under docs/ say what users must do themselves, and that their links lead somewhere.

use speaker_core::CheckFailure;

use crate::tree::{self, pages, root, shown};

fn read(path: &str) -> String {
    tree::read(&root().join(path))
}

/// Nothing of ours can set it, so the page is what the rule asks for.
#[test]
fn d83_strict_arp_is_documented() {
    let page = read("docs/kube-proxy.md");
    let block = page.split("```yaml").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("the page shows the configuration");
    let shown: serde_json::Value = serde_saphyr::from_str(block).expect("it is YAML");
    assert_eq!(shown["kind"], "KubeProxyConfiguration");
    assert_eq!((&shown["mode"], &shown["ipvs"]["strictARP"]), (&"ipvs".into(), &true.into()));
    assert!(page.contains("`strictArpMissing`"), "it says what the log shows");
    assert!(read("speaker/src/strict_arp.rs").contains("\"strictArpMissing\""), "and the log shows it");
    assert!(read("README.md").contains("(docs/kube-proxy.md)"), "it is found from the first page");
}

/// The page has a row for each text of `notAnnounced`, in the order of the checks, and for
/// nothing else.
#[test]
fn troubleshooting_has_each_text_of_not_announced() {
    let page = read("docs/troubleshooting.md");
    let table = page.split("\n| check | text |").nth(1).and_then(|rest| rest.split("\n\n").next());
    let rows = table.expect("the page has the table").lines().skip(2);
    let rows: Vec<(&str, &str)> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
        })
        .collect();
    let row = |failure: CheckFailure| Some((failure.check().as_str(), failure.text()?));
    let expected: Vec<(&str, &str)> = CheckFailure::ALL.into_iter().filter_map(row).collect();
    assert_eq!(rows, expected);
}

#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    for page in pages() {
        let text = tree::read(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            let path = page.with_file_name(target);
            if !path.exists() {
                problems.push(format!("{}: {target}", shown(&page)));
            }
        }
    }
    assert!(problems.is_empty(), "links that lead nowhere:\n{}", problems.join("\n"));
}

//! That the pages under docs/ say what a user must do himself, and that their links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
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

#[test]
fn links_lead_somewhere() {
    let mut pages = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in fs::read_dir(at("docs")).expect("docs/ is there") {
        let name = entry.expect("docs/ is readable").file_name().into_string().expect("names are UTF-8");
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    let mut problems = Vec::new();
    for page in &pages {
        let text = read(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            let path = at(page).with_file_name("").join(target);
            if !path.exists() {
                problems.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(pages.len() > 5, "only {pages:?} were read");
    assert!(problems.is_empty(), "links that lead nowhere:\n{}", problems.join("\n"));
}

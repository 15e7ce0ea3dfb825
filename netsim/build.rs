//! Embeds every file below `scenarios/`, so that a new file is a new scenario.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=scenarios");
    let mut files = Vec::new();
    for folder in ["", "objects/"] {
        for entry in fs::read_dir(Path::new("scenarios").join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".yaml") {
                files.push(format!("{folder}{name}"));
            }
        }
    }
    files.sort();
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let rows: Vec<String> = files
        .iter()
        .map(|file| format!("    ({file:?}, include_str!({:?})),\n", format!("{root}/scenarios/{file}")))
        .collect();
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("scenarios.rs"), format!("&[\n{}]\n", rows.concat()))
}

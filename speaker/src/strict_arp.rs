//! Notices that this node's kernel answers ARP for every Service's address, as
//! kube-proxy in IPVS mode makes it do without `strictARP` (D83).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where the kernel shows its settings of this network namespace.
const SETTINGS: &str = "/proc/sys/net/ipv4/conf";
/// The interface that holds the addresses of all Services in IPVS mode.
const IPVS: &str = "kube-ipvs0";
/// How often it is looked at: kube-proxy may start, or be mended, later.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Says so in the log when it begins and when it ends, until the task is dropped.
pub(crate) async fn watch() {
    let mut told = false;
    loop {
        let missing = is_missing(Path::new(SETTINGS));
        if missing && !told {
            tracing::warn!(
                event = "strictArpMissing",
                "kube-proxy runs in IPVS mode without strictARP, so this node answers ARP for the addresses of \
                 all Services, whoever owns them: set ipvs.strictARP to true in kube-proxy's configuration"
            );
        } else if told && !missing {
            tracing::info!(event = "strictArpSet", "only the owner of an address answers for it now");
        }
        told = missing;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether some interface answers for addresses that other interfaces have. The
/// kernel takes the larger of `all` and the interface's own setting.
fn is_missing(settings: &Path) -> bool {
    let answers_for_all = |name: &str| {
        let setting = fs::read_to_string(settings.join(name).join("arp_ignore"));
        setting.is_ok_and(|text| text.trim() == "0")
    };
    if !settings.join(IPVS).exists() || !answers_for_all("all") {
        return false;
    }
    let Ok(entries) = fs::read_dir(settings) else { return false };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let others = |name: &String| !["all", "default", "lo", IPVS].contains(&name.as_str());
    names.filter(others).any(|name| answers_for_all(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d83_ipvs_without_strict_arp_is_noticed() {
        let root = std::env::temp_dir().join(format!("speaker-strict-arp-{}", std::process::id()));
        for (what, interfaces, expected) in [
            ("iptables mode", &[("all", "0"), ("eth0", "0")][..], false),
            ("IPVS", &[("all", "0"), ("default", "0"), ("lo", "0"), ("eth0", "0"), (IPVS, "0")], true),
            ("strictARP", &[("all", "1"), ("default", "0"), ("lo", "0"), ("eth0", "0"), (IPVS, "0")], false),
            (
                "by interface",
                &[("all", "0"), ("default", "0"), ("lo", "0"), ("eth0", "1"), (IPVS, "0")],
                false,
            ),
            ("one left", &[("all", "0"), ("eth0", "1"), ("eth1", "0"), (IPVS, "0")], true),
            ("nothing to read", &[], false),
        ] {
            for (name, value) in interfaces {
                let directory = root.join(name);
                fs::create_dir_all(&directory).expect("the temporary directory is writable");
                fs::write(directory.join("arp_ignore"), format!("{value}\n")).expect("it was just made");
            }
            assert_eq!(is_missing(&root), expected, "{what}");
            let _ = fs::remove_dir_all(&root);
        }
    }
}

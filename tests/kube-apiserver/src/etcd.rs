//! The etcd behind the API server, and copies of its data.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::READY;
use crate::assets::Assets;
use crate::process::ChildProcess;

/// A killed etcd has ended within this time.
const END: Duration = Duration::from_secs(30);

/// Listens on a socket in its folder, and never waits for a disk.
#[derive(Debug)]
pub(crate) struct Etcd {
    process: ChildProcess,
    folder: PathBuf,
    backups: u32,
}

/// A copy of the data directory. It lies in the server's folder and goes with it.
#[derive(Debug)]
pub struct EtcdBackup(PathBuf);

impl Etcd {
    /// Starts it on what is in the folder and waits until it listens.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) fn start(assets: &Assets, folder: &Path) -> Self {
        Self { process: start(assets, folder), folder: folder.to_owned(), backups: 0 }
    }

    pub(crate) const fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Stands still while its files are read: the copy is what a crash at this moment leaves behind, and etcd starts
    /// from that.
    pub(crate) fn back_up(&mut self) -> EtcdBackup {
        self.backups += 1;
        let backup = self.folder.join(format!("backup-{}", self.backups));
        self.process.pause();
        copy(&data(&self.folder), &backup);
        self.process.signal(Signal::SIGCONT);
        EtcdBackup(backup)
    }

    /// Goes on from a backup.
    pub(crate) fn restore(&mut self, assets: &Assets, backup: &EtcdBackup) {
        // Its guard would remove the folder if it were merely dropped.
        self.process.signal(Signal::SIGKILL);
        assert!(self.process.wait(END).is_some(), "a killed process ends");
        std::fs::remove_dir_all(data(&self.folder)).expect("nobody else writes there");
        copy(&backup.0, &data(&self.folder));
        self.process = start(assets, &self.folder);
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("etcd")
}

/// It insists on addresses of which it could tell others; there are none, and nothing listens there.
fn start(assets: &Assets, folder: &Path) -> ChildProcess {
    const NOWHERE: &str = "http://localhost:1";
    let socket = folder.join("etcd.sock");
    // That of a killed one says nothing about the next.
    let _ = std::fs::remove_file(&socket);
    let flags = [
        format!("--data-dir={}", data(folder).display()),
        format!("--listen-client-urls=unix://{}", socket.display()),
        format!("--listen-peer-urls=unix://{}", folder.join("peer.sock").display()),
        format!("--advertise-client-urls={NOWHERE}"),
        format!("--initial-advertise-peer-urls={NOWHERE}"),
        format!("--initial-cluster=default={NOWHERE}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let mut etcd = ChildProcess::start("etcd", &assets.etcd(), &flags, folder, true);
    let deadline = Instant::now() + READY;
    // Who finds no socket tries again only after a second.
    while !socket.exists() {
        etcd.assert_running();
        assert!(Instant::now() < deadline, "etcd does not listen:\n{}", etcd.log_end());
        std::thread::sleep(Duration::from_millis(5));
    }
    etcd
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder is ours");
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("the disk has room");
        }
    }
}

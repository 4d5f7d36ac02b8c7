//! What people install, on a system that has nothing else: the tarball and the Debian package in an
//! empty Debian root, without Rust, compilers or Python.
//!
//! The packages contain the program under test, so that the test suite needs no release build;
//! `tools/package` itself makes them. Changing into another root requires root rights. Without
//! them, or where `tools/setup` could not make that root, the test reports that it did not run.

use crate::support::folder;
use crate::support::program::text;
use std::path::Path;
use std::process::{Command, Output};

/// A Debian with only what a package manager needs, unpacked for one test. Removed with its folder.
struct Root<'a> {
    path: &'a Path,
}

impl Root<'_> {
    /// Runs a shell command there, with /proc as every system has it. /proc is gone with the
    /// command.
    fn run(&self, command: &str) -> Output {
        let enter = r#"mount -t proc proc "$1/proc" && exec env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root AMBER_REPO=/root/repository \
            AMBER_PASSPHRASE='only a test' chroot "$1" /bin/sh -ec "$2""#;
        let mut own_mounts = Command::new("unshare");
        own_mounts.args(["--mount", "--propagation", "private", "sh", "-ec", enter, "enter", text(self.path), command]);
        own_mounts.output().unwrap()
    }

    fn ok(&self, command: &str) -> String {
        let output = self.run(command);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}: {said}");
        said
    }
}

fn unpacked(archive: &Path, place: &Path) {
    std::fs::create_dir_all(place).unwrap();
    assert!(Command::new("tar").args(["-xzf", text(archive), "-C", text(place)]).status().unwrap().success());
}

/// A backup and its restore with only what was installed.
fn works(root: &Root<'_>) {
    let said = root.ok("amber --version");
    assert!(said.contains(env!("CARGO_PKG_VERSION")) && said.contains("revision: "), "{said}");
    root.ok("rm -rf /root/repository /root/catalog && amber init && head -c 3000000 /dev/urandom >/root/file");
    root.ok("amber backup file /root/file --name file && amber verify --full");
    root.ok("amber restore file file --output /root/back --overwrite && cmp /root/file /root/back");
    root.ok("amber catalog rebuild --catalog /root/catalog");
    let query = "SELECT count(*) + 41 AS answer FROM backup_metadata";
    let said = root.ok(&format!("amber catalog query --catalog /root/catalog --json '{query}'"));
    assert!(said.contains(r#""answer":42"#) || said.contains(r#""answer": 42"#), "DuckDB answers: {said}");
}

#[test]
fn packages_are_installed_in_an_empty_debian_and_work() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let empty = project.join(".tools/debian_root.tar.gz");
    if !rustix::process::geteuid().is_root() || !empty.is_file() {
        println!("not run: installing packages into another root takes root and .tools/debian_root.tar.gz");
        return;
    }
    let place = folder("package");
    let dist = place.path().join("dist");
    let mut package = Command::new(project.join("tools/package"));
    package.args(["--program", env!("CARGO_BIN_EXE_amber"), "--output", text(&dist)]);
    let output = package.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("stripped"), "{said}");
    let name = format!("amber-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));

    let path = place.path().join("root");
    unpacked(&empty, &path);
    let root = Root { path: &path };
    if !root.run("true").status.success() {
        println!("not run: this machine does not let root have mounts of its own");
        return;
    }
    for absent in ["cargo", "rustc", "cc", "gcc", "clang", "python3", "node"] {
        assert!(!root.run(&format!("command -v {absent}")).status.success(), "{absent} is in the empty root");
    }
    assert!(!root.run("amber --version").status.success(), "it is not there yet");

    let package = format!("amber_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    std::fs::copy(dist.join(&package), path.join("root").join(&package)).unwrap();
    root.ok(&format!("dpkg -i /root/{package}"));
    works(&root);
    root.ok("test -s /usr/lib/systemd/system/amber-agent.service && grep -q 'ExecStart=/usr/bin/amber agent' /usr/lib/systemd/system/amber-agent.service");
    root.ok(
        "test -s /etc/amber/amber.toml && test -s /usr/share/bash-completion/completions/amber && test -s /usr/share/doc/amber/copyright",
    );
    let licences = root.ok("cat /usr/share/doc/amber/THIRD-PARTY-LICENCES.txt");
    for linked in ["aws-sdk-s3 ", "libduckdb.so", "libtb_client.so", "uPlot", "zstd-sys "] {
        assert!(licences.contains(linked), "{linked}");
    }
    for page in ["amber", "amber-agent", "amber-backup-tigerbeetle", "amber-restore-tigerbeetle"] {
        let page = root.ok(&format!("zcat /usr/share/man/man1/{page}.1.gz"));
        assert!(page.contains(".SH NAME"), "{page}");
    }
    root.ok("dpkg --purge amber && ! command -v amber && test ! -e /etc/amber/amber.toml && test ! -e /usr/lib/amber");

    unpacked(&dist.join(format!("{name}.tar.gz")), &path.join("root"));
    root.ok(&format!("cp -r /root/{name}/bin /root/{name}/lib /root/{name}/share /usr/local/"));
    works(&root);
    let container = std::fs::read_to_string(dist.join("Containerfile")).unwrap();
    assert!(container.contains(&format!("ADD {name}.tar.gz /opt/")) && !container.contains("RUN"), "{container}");
    let sums = Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&dist).status().unwrap();
    assert!(sums.success());
    let symbols = Command::new("tar").args(["-tzf", text(&dist.join(format!("{name}-symbols.tar.gz")))]).output().unwrap();
    assert!(String::from_utf8_lossy(&symbols.stdout).contains("amber.debug"));
}

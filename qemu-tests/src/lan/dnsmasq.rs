//! Debian's dnsmasq as the DHCP and TFTP server of a wire: a server that is not ours.
//!
//! Does:      makes a network namespace with a pair of interfaces, runs dnsmasq inside, and
//!            joins the outer interface to the wire; removes everything when dropped.
//! Does not:  touch the host's own addresses or routes.
//! Bounds:    one namespace, one pair, one process.
//! Trusts:    `ip` and dnsmasq; needs root.
//! Start at:  `Dnsmasq::start`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::bridge::Bridge;
use crate::machine::{command, spawn};
use crate::scenario::Problem;
use crate::wire::Port;

/// A running dnsmasq on a wire.
#[derive(Debug)]
pub struct Dnsmasq {
    namespace: String,
    child: Child,
    bridge: Option<Bridge>,
}

impl Dnsmasq {
    /// Serves the files of `folder` on `10.77.0.1/24`.
    pub fn start(port: &Port, folder: &Path, log: &Path) -> Result<Self, Problem> {
        if !rustix::process::geteuid().is_root() {
            let why = "a network namespace with dnsmasq needs root";
            return Err(Problem::Skipped(why.to_owned()));
        }
        // 15 bytes is all that an interface's name may have.
        let outer = format!("luc{}", std::process::id());
        let namespace = format!("luc-rig-{}", std::process::id());
        ip(&["netns", "add", &namespace])?;
        let started = connect(&namespace, &outer)
            .and_then(|index| Ok((Bridge::start(index, port)?, serve(&namespace, folder, log)?)));
        match started {
            Ok((bridge, child)) => Ok(Self {
                namespace,
                child,
                bridge: Some(bridge),
            }),
            Err(problem) => {
                remove(&namespace);
                Err(problem.into())
            }
        }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.bridge = None;
        remove(&self.namespace); // the pair of interfaces goes with it
    }
}

/// Makes the pair and returns the outer interface's index.
fn connect(namespace: &str, outer: &str) -> io::Result<u32> {
    let peer = ["type", "veth", "peer", "name", "eth0", "netns", namespace];
    ip(&[&["link", "add", outer], &peer[..]].concat())?;
    // The kernel would speak IPv6 on it; nobody on this wire should hear the host.
    fs::write(format!("/proc/sys/net/ipv6/conf/{outer}/disable_ipv6"), "1").ok();
    ip(&[
        "-n",
        namespace,
        "address",
        "add",
        "10.77.0.1/24",
        "dev",
        "eth0",
    ])?;
    ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
    ip(&["link", "set", outer, "up"])?;
    let index = fs::read_to_string(format!("/sys/class/net/{outer}/ifindex"))?;
    index.trim().parse().map_err(io::Error::other)
}

fn serve(namespace: &str, folder: &Path, log: &Path) -> io::Result<Child> {
    let mut dnsmasq = command("ip");
    dnsmasq.args([
        "netns",
        "exec",
        namespace,
        "dnsmasq",
        "--keep-in-foreground",
    ]);
    dnsmasq.args([
        "--conf-file=/dev/null",
        "--user=root",
        "--port=0",
        "--interface=eth0",
    ]);
    dnsmasq.args([
        "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,1h",
        "--leasefile-ro",
    ]);
    dnsmasq.args(["--dhcp-authoritative", "--log-dhcp", "--log-facility=-"]);
    // What an operator's dnsmasq says: iPXE gets our script, UEFI firmware our program.
    dnsmasq.args(["--dhcp-match=set:ipxe,175", "--dhcp-boot=tag:ipxe,luc.ipxe"]);
    dnsmasq.args(["--dhcp-match=set:efi,option:client-arch,7"]);
    dnsmasq.args(["--dhcp-boot=tag:!ipxe,tag:efi,luc.efi"]);
    dnsmasq.args(["--dhcp-boot=tag:!ipxe,tag:!efi,undionly.kpxe"]);
    dnsmasq
        .arg("--enable-tftp")
        .arg(format!("--tftp-root={}", folder.display()));
    let output = fs::File::create(log)?;
    dnsmasq
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    spawn(dnsmasq)
}

fn remove(namespace: &str) {
    if let Err(problem) = ip(&["netns", "delete", namespace]) {
        eprintln!("rig: the namespace {namespace} stays behind: {problem}");
    }
}

fn ip(words: &[&str]) -> io::Result<()> {
    let output = Command::new("ip")
        .args(words)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "ip {}: {}",
        words.join(" "),
        said.trim()
    )))
}

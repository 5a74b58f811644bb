//! A node that is up: its machine, its address, and the `luc` command pointed at it.
//!
//! Does:      waits for `ready`, and puts into one line what scenarios do with VMs.
//! Does not:  judge; scenarios do.
//! Bounds:    every wait ends at the scenario's limit.
//! Trusts:    the node's console for its address only.
//! Start at:  `Node::join`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::lan::Lan;
use crate::luc::{Answer, Luc};
use crate::machine::{Boot, Machine};
use crate::scenario::Problem;
use crate::stages::{Report, Timeline};
use crate::story::Story;
use crate::supplies::Supplies;

/// The API's port.
const API_PORT: u16 = 80;
/// Longest wait that `luc` is told; the scenario's own limit comes earlier or later.
const WAIT: &str = "240s";
/// A raw request's answer.
const REPLY_MAX: Duration = Duration::from_secs(60);
/// Bytes of a raw answer that are read.
const REPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The image that scenarios' VMs boot from.
pub const GUEST: &str = "guest";
/// Its kernel arguments.
pub const GUEST_CMDLINE: &str = "console=ttyS0 quiet panic=-1";

/// A node that said `ready`.
#[derive(Debug)]
pub struct Node {
    /// The machine below it.
    pub machine: Machine,
    /// Its address on the LAN.
    pub address: Ipv4Addr,
    /// The command, pointed at it.
    pub luc: Luc,
    door: SocketAddr,
}

/// Boots the node's kernel directly, with more arguments.
#[must_use]
pub fn direct(supplies: &Supplies, extra: &str) -> Boot {
    let image = &supplies.paths.image;
    let standing = image_builder::script::ARGUMENTS;
    Boot::Direct {
        kernel: image.join("vmlinuz"),
        initrd: image.join("initrd.cpio"),
        cmdline: format!("{standing} {extra}").trim().to_owned(),
    }
}

impl Node {
    /// Waits until the machine's node is ready, and opens a door to its API.
    pub fn join(story: &Story, lan: &Lan, mut machine: Machine) -> Result<Self, Problem> {
        let line = machine.booted("] ready http://", story.left())?;
        let address = address_in(&line.text)?;
        let door = lan
            .client()
            .open_door(SocketAddrV4::new(address, API_PORT))?;
        let luc = Luc::new(
            &story.supplies().luc,
            &door.to_string(),
            story.folders().logs,
        );
        Ok(Self {
            machine,
            address,
            luc,
            door,
        })
    }

    /// `http://127.0.0.1:PORT/`: the API for programs and people on this host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.door)
    }

    /// What the node says about itself.
    pub fn show(&self) -> Result<Value, Problem> {
        self.luc.json(&["node", "show"])
    }

    /// The stages of its boot.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        Timeline::of(&self.machine.serial().all_with(crate::stages::MARK))
    }

    /// Uploads the test guest as the image `guest`.
    pub fn add_guest_image(&self, story: &Story) -> Result<(), Problem> {
        let image = &story.supplies().guest;
        let (kernel, initrd) = (
            image.kernel.to_string_lossy(),
            image.initrd.to_string_lossy(),
        );
        let words = [
            "image",
            "add",
            GUEST,
            "--kernel",
            &kernel,
            "--initrd",
            &initrd,
            "--cmdline",
            GUEST_CMDLINE,
        ];
        self.luc.run(&words)?;
        Ok(())
    }

    /// Creates a VM of the test guest and waits until it runs. `name` is its nonce as well.
    pub fn create(&self, name: &str, behaviour: &str, more: &[&str]) -> Result<(), Problem> {
        // With `reboot=t` the kernel resets by a triple fault.
        let how = if behaviour == "triplefault" {
            " reboot=t"
        } else {
            ""
        };
        let cmdline = format!("luc.nonce={name} luc.guest={behaviour}{how}");
        let words = [
            "vm",
            "create",
            name,
            "--image",
            GUEST,
            "--cmdline",
            &cmdline,
        ];
        let words = [&words[..], &["--wait", "--timeout", WAIT], more].concat();
        self.luc.run(&words)?;
        Ok(())
    }

    /// Waits until a VM is in a state, or its console shows a text (`console~TEXT`).
    pub fn wait(&self, vm: &str, condition: &str) -> Result<(), Problem> {
        self.luc
            .run(&["wait", "vm", vm, "--for", condition, "--timeout", WAIT])?;
        Ok(())
    }

    /// Waits for the token that only the guest with this name can print.
    pub fn wait_token(&self, story: &Story, vm: &str) -> Result<String, Problem> {
        let token = guest::token(vm, &story.supplies().guest.release);
        self.wait(vm, &format!("console~{}{token}", guest::TOKEN_LINE))?;
        Ok(token)
    }

    /// Ends VMs and waits until they are gone.
    pub fn delete(&self, vms: &[&str]) -> Result<(), Problem> {
        let words = [
            &["vm", "delete"],
            vms,
            &["--yes", "--wait", "--timeout", WAIT],
        ]
        .concat();
        self.luc.run(&words)?;
        Ok(())
    }

    /// One VM, as the API shows it.
    pub fn vm(&self, name: &str) -> Result<Value, Problem> {
        self.luc.json(&["vm", "show", name])
    }

    /// Demands that `luc` refuses these words with this exit code and says why.
    pub fn refuses(&self, words: &[&str], code: i32, says: &str) -> Result<Answer, Problem> {
        let answer = self.luc.ask(words)?;
        if answer.code == code && answer.stderr.contains(says) {
            return Ok(answer);
        }
        let words = words.join(" ");
        Err(Problem::Broken(format!(
            "`luc {words}`: expected exit {code} and {says:?} on stderr, got {answer:?}"
        )))
    }

    /// Sends bytes as they are to the API and returns everything that comes back.
    pub fn raw(&self, request: &[u8]) -> Result<String, Problem> {
        let mut stream = TcpStream::connect(self.door)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        stream.set_write_timeout(Some(REPLY_MAX))?;
        // The node may answer and hang up before it has read everything: that is its right.
        let sent = stream.write_all(request);
        let mut reply = Vec::new();
        let read = stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply);
        if reply.is_empty() {
            sent?;
            read?;
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }
}

fn address_in(line: &str) -> Result<Ipv4Addr, Problem> {
    let report = Report::parse(line);
    let host = report.as_ref().and_then(|report| {
        report
            .text
            .strip_prefix("http://")?
            .split(['/', ':', ' '])
            .next()?
            .parse()
            .ok()
    });
    host.ok_or_else(|| Problem::Broken(format!("no address in the line {line:?}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::address_in;

    #[test]
    fn the_ready_line_names_the_address() {
        assert_eq!(
            address_in("luc[ 3.2] ready http://10.77.0.100/")
                .unwrap()
                .to_string(),
            "10.77.0.100"
        );
        assert!(address_in("luc[ 3.2] ready http:///").is_err());
        assert!(address_in("ready http://10.77.0.100/").is_err());
    }
}

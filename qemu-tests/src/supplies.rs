//! What every scenario works with: the node's image, the `luc` program, and the guest's image.
//!
//! Does:      builds them once a run.
//! Does not:  build anything twice: cargo and the image builder know what is fresh.
//! Bounds:    one set.
//! Trusts:    the lock file of the image builder.
//! Start at:  `Supplies::build`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image_builder::cpio::Archive;
use image_builder::lock::Lock;
use image_builder::{AllowList, Flavour, Kernel, Options, Paths, fetch, kernel};

use crate::machine::Boot;
use crate::progress::Progress;
use crate::scenario::chain;

/// Everything a scenario may use; cheap to clone.
#[derive(Clone, Debug)]
pub struct Supplies {
    /// The workspace's folders; artefacts of the node are in `paths.image`.
    pub paths: Paths,
    /// The `luc` program: it is the node's `/init` and the command for people.
    pub luc: PathBuf,
    /// What runs in VMs.
    pub guest: GuestImage,
}

/// The image of a test guest: Debian's small kernel and our program, nothing else.
#[derive(Clone, Debug)]
pub struct GuestImage {
    /// bzImage.
    pub kernel: PathBuf,
    /// cpio archive.
    pub initrd: PathBuf,
    /// What `uname -r` says inside.
    pub release: String,
}

/// A supply could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct NoSupply {
    /// What was to be made.
    pub what: &'static str,
    /// Why it was not.
    pub why: String,
}

impl GuestImage {
    /// Boots it in QEMU directly, without a node.
    #[must_use]
    pub fn boot(&self, arguments: &str) -> Boot {
        Boot::Direct {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            cmdline: format!("console=ttyS0 quiet panic=-1 {arguments}"),
        }
    }

    /// Builds the guest's program and packs it.
    pub fn build(paths: &Paths) -> Result<Self, NoSupply> {
        let program = build_bin(paths, "guest", "guest")?;
        Self::pack(paths, &program, &paths.target.join("rig-guest")).map_err(|why| NoSupply {
            what: "packing the guest's image",
            why,
        })
    }

    fn pack(paths: &Paths, program: &Path, folder: &Path) -> Result<Self, String> {
        let kernel = cloud_kernel(paths, &guest::MODULES)?;
        let mut archive = Archive::new();
        for name in ["proc", "sys", "dev"] {
            archive.folder(name);
        }
        // The kernel opens it for PID 1 before anything is mounted.
        archive.device("dev/console", 0o600, 5, 1);
        let program = fs::read(program).map_err(|source| source.to_string())?;
        archive.file("init", 0o755, program);
        for (name, bytes) in kernel.modules {
            archive.file(&format!("lib/{name}.ko.xz"), 0o644, bytes);
        }
        let image = Self {
            kernel: folder.join("vmlinuz"),
            initrd: folder.join("initrd.cpio"),
            release: kernel.release,
        };
        fs::create_dir_all(folder).map_err(|source| source.to_string())?;
        let write = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).map_err(|source| format!("{}: {source}", path.display()))
        };
        write(&image.kernel, &kernel.vmlinuz)?;
        write(&image.initrd, &archive.finish()?)?;
        Ok(image)
    }
}

/// Debian's small kernel with these modules and all that they need.
fn cloud_kernel(paths: &Paths, modules: &[&str]) -> Result<Kernel, String> {
    let text = |error: image_builder::Error| chain(&error);
    let mut progress = image_builder::Progress::stderr();
    let lock = Lock::read(&paths.lock).map_err(text)?;
    let package = lock
        .package(Flavour::Cloud.role(), &paths.lock)
        .map_err(text)?;
    let deb = fetch::ensure(package, &paths.debs, false, &mut progress).map_err(text)?;
    let list = AllowList::of(modules.iter().copied());
    kernel::open(package, &deb, &list, &mut progress).map_err(text)
}

/// Builds a program of a package as it ships, and says where it is.
pub fn build_bin(
    paths: &Paths,
    package: &'static str,
    bin: &'static str,
) -> Result<PathBuf, NoSupply> {
    let failed = |why: String| NoSupply { what: bin, why };
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&paths.workspace)
        .args([
            "build",
            "--release",
            "--quiet",
            "--message-format",
            "json-render-diagnostics",
        ])
        .args(["--package", package, "--bin", bin])
        // The image builder compiles with flags of its own; in one folder, each would make cargo
        // throw away the other's work.
        .arg("--target-dir")
        .arg(paths.target.join("rig-build"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| failed(source.to_string()))?;
    if !output.status.success() {
        return Err(failed(
            "cargo build failed; its messages stand above".to_owned(),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let mut programs = messages.filter_map(|message| Some(message["executable"].as_str()?.into()));
    programs
        .next_back()
        .ok_or_else(|| failed("cargo named no program".to_owned()))
}

impl Supplies {
    /// Builds everything.
    pub fn build(paths: &Paths, progress: &Progress) -> Result<Self, NoSupply> {
        // No live rows: cargo and the image builder write to the terminal themselves.
        progress.say("building luc and the node's image");
        let mut listener = image_builder::Progress::stderr();
        image_builder::build(&Options::of(paths.clone()), &mut listener).map_err(|error| {
            NoSupply {
                what: "the node's image",
                why: advice(&error),
            }
        })?;
        Self::as_built(paths, progress)
    }

    /// Takes the node's image as it was built last, and builds only the guest's.
    pub fn as_built(paths: &Paths, progress: &Progress) -> Result<Self, NoSupply> {
        progress.say("building the guest's image");
        let guest = GuestImage::build(paths)?;
        // The image builder has compiled it: the same program serves people.
        let luc = paths.target.join("x86_64-unknown-linux-gnu/release/luc");
        Ok(Self {
            paths: paths.clone(),
            luc,
            guest,
        })
    }
}

fn advice(error: &image_builder::Error) -> String {
    format!("{}. {}", chain(error), error.advice())
}

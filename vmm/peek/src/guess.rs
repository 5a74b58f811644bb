//! The last resort: no menu, so the newest vmlinuz with the initrd of the same version.

use crate::disk::ReadError;
use crate::search::{Choice, FileName, Volumes};
use crate::version;

const FOLDERS: [&str; 2] = ["/boot", "/"];
const KERNELS: [&str; 4] = ["vmlinuz-", "linux-", "kernel-", "bzImage-"];
/// Without a version in the name: links of Debian, kernels of one's own.
const PLAIN: [(&str, &str); 3] = [
    ("vmlinuz", "initrd.img"),
    ("vmlinuz", "initramfs.img"),
    ("bzImage", "initrd"),
];
/// Choices of one volume.
const KERNELS_MAX: usize = 16;

/// Kernels of all volumes, the newest first.
pub(crate) fn choices(volumes: &Volumes) -> Result<Vec<Choice>, ReadError> {
    let root = root_volume(volumes)?;
    let mut found: Vec<(String, Choice)> = Vec::new();
    for (number, volume) in volumes.list().iter().enumerate() {
        for folder in FOLDERS {
            let names = volume.list(folder)?.unwrap_or_default();
            let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
            let mut kernels = kernels(&names);
            kernels.truncate(KERNELS_MAX);
            for (version, kernel, initrd) in kernels {
                let file = |name: String| FileName {
                    volume: number,
                    path: format!("{}/{name}", folder.trim_end_matches('/')),
                };
                let home = &volumes.list()[root.unwrap_or(number)];
                let choice = Choice {
                    title: kernel.clone(),
                    cmdline: format!("{} ro", home.root_argument(initrd.is_some())),
                    kernel: file(kernel),
                    initrds: initrd.into_iter().map(file).collect(),
                };
                found.push((version, choice));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| version::compare(b, a));
    Ok(found.into_iter().map(|(_, choice)| choice).collect())
}

/// The volume where programs are.
fn root_volume(volumes: &Volumes) -> Result<Option<usize>, ReadError> {
    for path in ["/etc/os-release", "/usr/lib/os-release", "/sbin/init"] {
        if let Some(number) = volumes.by_file(path)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Version, kernel, initrd.
fn kernels(names: &[String]) -> Vec<(String, String, Option<String>)> {
    let have = |name: &String| names.contains(name);
    let mut found = Vec::new();
    for name in names {
        let version = KERNELS.iter().find_map(|prefix| name.strip_prefix(prefix));
        if let Some(version) = version.filter(|version| !version.contains("rescue")) {
            let initrds = [
                format!("initrd.img-{version}"),
                format!("initramfs-{version}.img"),
                format!("initrd-{version}"),
                format!("initrd-{version}.img"),
                format!("initramfs-{version}"),
            ];
            let initrd = initrds.into_iter().find(have);
            found.push((version.to_owned(), name.clone(), initrd));
        }
    }
    if found.is_empty() {
        let plain = PLAIN.map(|(kernel, initrd)| (kernel.to_owned(), initrd.to_owned()));
        let whole = plain
            .iter()
            .find(|(kernel, initrd)| have(kernel) && have(initrd));
        let alone = plain.iter().find(|(kernel, _)| have(kernel));
        found.extend(whole.or(alone).map(|(kernel, initrd)| {
            (
                String::new(),
                kernel.clone(),
                Some(initrd.clone()).filter(have),
            )
        }));
    }
    found.sort_by(|(a, ..), (b, ..)| version::compare(b, a));
    found
}

#[cfg(test)]
mod tests {
    use super::kernels;

    #[test]
    fn the_newest_kernel_comes_with_its_own_initrd() {
        let names = [
            "config-6.1.0-9-amd64",
            "initrd.img-6.1.0-13-amd64",
            "initrd.img-6.1.0-9-amd64",
            "vmlinuz-6.1.0-9-amd64",
            "vmlinuz-6.1.0-13-amd64",
            "vmlinuz-0-rescue-abc",
            "vmlinuz",
        ];
        let found = kernels(&names.map(str::to_owned));
        let row = |version: &str| {
            let initrd = Some(format!("initrd.img-{version}"));
            (version.to_owned(), format!("vmlinuz-{version}"), initrd)
        };
        assert_eq!(found, [row("6.1.0-13-amd64"), row("6.1.0-9-amd64")]);
    }

    #[test]
    fn without_versions_the_plain_names_count() {
        let found = kernels(&["initramfs.img", "vmlinuz"].map(str::to_owned));
        let row = (
            String::new(),
            "vmlinuz".to_owned(),
            Some("initramfs.img".to_owned()),
        );
        assert_eq!(found, [row]);
        assert!(kernels(&["initrd.img".to_owned()]).is_empty());
    }
}

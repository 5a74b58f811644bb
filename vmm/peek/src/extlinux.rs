//! The menus of extlinux and syslinux, which Alpine and boards use.
//!
//! Does:      labels with kernel, initrds and command line; the default by DEFAULT, MENU DEFAULT or
//!            being first.
//! Does not:  other modules (`.c32`), device trees, submenus.
//! Bounds:    `LABELS_MAX`; `INCLUDES_MAX` files included.
//! Trusts:    nothing: a guest wrote it.
//! Start at:  `choices`.

use crate::disk::ReadError;
use crate::search::{Choice, FileName, Volumes};

const LABELS_MAX: usize = 128;
const INCLUDES_MAX: usize = 8;
const PATHS: [&str; 8] = [
    "/boot/extlinux/extlinux.conf",
    "/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/syslinux/syslinux.cfg",
    "/boot/syslinux.cfg",
    "/syslinux.cfg",
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Label {
    name: String,
    title: String,
    kernel: String,
    initrds: Vec<String>,
    append: Option<String>,
}

#[derive(Debug, Default)]
struct Menu {
    labels: Vec<Label>,
    default: Option<String>,
    marked: Option<String>,
    append: String,
    includes: Vec<String>,
}

/// What all such menus would boot, the default of each first.
pub(crate) fn choices(volumes: &Volumes) -> Result<Vec<Choice>, ReadError> {
    let mut found = Vec::new();
    for (number, volume) in volumes.list().iter().enumerate() {
        for path in PATHS {
            let Some(text) = volume.text(path)? else {
                continue;
            };
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut menu = Menu::default();
            menu.read(&text);
            for at in 0..INCLUDES_MAX {
                let Some(name) = menu.includes.get(at) else {
                    break;
                };
                if let Some(text) = volume.text(&beside(folder, name))? {
                    menu.read(&text);
                }
            }
            found.extend(menu.choices(number, folder));
        }
    }
    Ok(found)
}

/// Names without a slash in front lie beside the menu.
fn beside(folder: &str, name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

impl Menu {
    fn read(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim();
            let full = self.labels.len() == LABELS_MAX;
            let label = self.labels.last_mut();
            match (key.to_ascii_lowercase().as_str(), label) {
                ("label", _) if full => return,
                ("label", _) => self.labels.push(Label {
                    name: value.to_owned(),
                    ..Label::default()
                }),
                ("default" | "ontimeout", _) => self.default = Some(value.to_owned()),
                ("include", _) => self.includes.push(value.to_owned()),
                ("menu", label) => {
                    let (word, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
                    match (word.to_ascii_lowercase().as_str(), label) {
                        ("default", Some(label)) => self.marked = Some(label.name.clone()),
                        ("label", Some(label)) => label.title = rest.trim().replace('^', ""),
                        ("include", _) => self.includes.push(rest.trim().to_owned()),
                        _ => {}
                    }
                }
                ("kernel" | "linux", Some(label)) => label.kernel = value.to_owned(),
                ("initrd", Some(label)) => label.initrds = list(value),
                ("append", Some(label)) => label.append = Some(value.to_owned()),
                ("append", None) => self.append = value.to_owned(),
                _ => {}
            }
        }
    }

    fn choices(mut self, volume: usize, folder: &str) -> Vec<Choice> {
        let wanted = self.marked.or(self.default);
        let first = self
            .labels
            .iter()
            .position(|label| Some(&label.name) == wanted.as_ref());
        if let Some(at) = first {
            self.labels[..=at].rotate_right(1);
        }
        let append = self.append;
        let labels = self
            .labels
            .into_iter()
            .filter(|label| !label.kernel.is_empty());
        labels
            .map(|label| label.choice(volume, folder, &append))
            .collect()
    }
}

fn list(names: &str) -> Vec<String> {
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Label {
    fn choice(self, volume: usize, folder: &str, append: &str) -> Choice {
        let line = match self.append {
            Some(own) if own == "-" => String::new(),
            Some(own) => own,
            None => append.to_owned(),
        };
        let mut initrds = self.initrds;
        let mut words = Vec::new();
        for word in line.split_whitespace() {
            match word.strip_prefix("initrd=") {
                Some(names) => initrds = list(names),
                None => words.push(word),
            }
        }
        let file = |name: &String| FileName {
            volume,
            path: beside(folder, name),
        };
        Choice {
            title: if self.title.is_empty() {
                self.name
            } else {
                self.title
            },
            kernel: file(&self.kernel),
            initrds: initrds.iter().map(file).collect(),
            cmdline: words.join(" "),
        }
    }
}

/// A menu as a guest may have written it.
pub(crate) fn fuzz(text: &str) {
    let mut menu = Menu::default();
    menu.read(text);
    assert!(menu.choices(0, "/boot").len() <= LABELS_MAX);
}

#[cfg(test)]
mod tests {
    use super::Menu;

    /// As Alpine's cloud images have it.
    const ALPINE: &str = "# Generated by update-extlinux\nDEFAULT menu.c32\nPROMPT 0\n\
        MENU TITLE Alpine/Linux Boot Menu\nMENU AUTOBOOT Alpine will be booted in # seconds.\n\
        TIMEOUT 10\nLABEL lts\n  MENU LABEL ^Linux lts\n  LINUX vmlinuz-lts\n\
        LABEL virt\n  MENU DEFAULT\n  MENU LABEL Linux virt\n  LINUX vmlinuz-virt\n\
        \x20 INITRD initramfs-virt\n  APPEND root=UUID=1-2 modules=ext4 console=ttyS0,115200n8\n\
        MENU SEPARATOR\n";

    #[test]
    fn the_marked_label_comes_first_and_files_lie_beside_the_menu() {
        let mut menu = Menu::default();
        menu.read(ALPINE);
        let choices = menu.choices(1, "/boot");
        assert_eq!(choices.len(), 2);
        assert_eq!(choices[0].title, "Linux virt");
        assert_eq!(choices[0].kernel.path, "/boot/vmlinuz-virt");
        assert_eq!(choices[0].initrds[0].path, "/boot/initramfs-virt");
        let line = "root=UUID=1-2 modules=ext4 console=ttyS0,115200n8";
        assert_eq!(choices[0].cmdline, line);
        assert_eq!(choices[1].title, "Linux lts");
    }

    #[test]
    fn an_initrd_may_stand_in_the_command_line() {
        let mut menu = Menu::default();
        menu.read(
            "append ro\ndefault two\nlabel one\nkernel /a\nlabel two\nkernel /k\n\
                   append initrd=/u.img,i.img root=/dev/vda1\n",
        );
        let choices = menu.choices(0, "/x");
        assert_eq!(choices[0].cmdline, "root=/dev/vda1");
        assert_eq!(choices[0].initrds[0].path, "/u.img");
        assert_eq!(choices[0].initrds[1].path, "/x/i.img");
        assert_eq!(choices[1].cmdline, "ro");
    }
}

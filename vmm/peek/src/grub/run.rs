//! Runs a grub.cfg up to its menu, picks the entry that would boot, and runs that one.
//!
//! Does:      variables, functions, conditions, `search`, `configfile`, `source`, `load_env`,
//!            `blscfg`, menus inside menus, the saved default.
//! Does not:  write the environment block. `next_entry` (grub-reboot) is therefore not obeyed: it
//!            could not be cleared and would hold for ever.
//! Bounds:    `STEPS_MAX` commands, `CALLS_MAX` functions and files inside each other,
//!            `VALUE_MAX` bytes of a value, `WORDS_MAX` of all, `ENTRIES_MAX` entries of all menus.
//! Trusts:    nothing: a guest wrote the menu.
//! Start at:  `choices`.

use std::collections::BTreeMap;

use super::environment;
use super::parse::{self, Block, Piece, Statement, Word};
use super::test::{self, Ask};
use crate::bls;
use crate::disk::ReadError;
use crate::search::{Choice, FileName, Volumes};

/// Commands run; the largest generated menu needs 400.
const STEPS_MAX: u32 = 4_000;
/// Functions and files inside each other.
const CALLS_MAX: u32 = 8;
/// Bytes of a variable or of one command's words. Longer ones are cut.
const VALUE_MAX: usize = 4 << 10;
/// Bytes of all words together; the largest generated menu has 60 KiB. At the end no step is left.
const WORDS_MAX: usize = 256 << 10;
const VARIABLES_MAX: usize = 512;
const ENTRIES_MAX: usize = 256;

/// A line of a menu.
#[derive(Clone, Debug)]
struct Entry {
    title: String,
    id: Option<String>,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Boot(Block),
    Menu(Block),
    Known(Choice),
}

/// What `linux` and `initrd` have named so far.
#[derive(Clone, Debug, Default)]
struct Loaded {
    kernel: Option<FileName>,
    initrds: Vec<FileName>,
    cmdline: String,
}

struct Machine<'a> {
    volumes: &'a Volumes,
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Block>,
    menu: Vec<Entry>,
    entries_left: usize,
    loaded: Loaded,
    steps_left: u32,
    words_left: usize,
    calls: u32,
}

/// What the menu in this file would boot: the default first, then the other entries in order.
pub(crate) fn choices(
    volumes: &Volumes,
    volume: usize,
    path: &str,
    text: &str,
) -> Result<Vec<Choice>, ReadError> {
    let mut machine = Machine::new(volumes, volume, path);
    machine.run(&parse::parse(text))?;
    let menu = std::mem::take(&mut machine.menu);
    let mut found = Vec::new();
    if menu.is_empty() {
        found.extend(machine.loaded.choice(path));
        return Ok(found);
    }
    let wish = machine
        .variables
        .get("default")
        .cloned()
        .unwrap_or_default();
    let first = machine.select(&menu, &wish)?;
    found.extend(first);
    for entry in menu {
        let other = machine.open(&entry)?;
        found.extend(other.filter(|other| !found.contains(other)));
    }
    Ok(found)
}

impl Loaded {
    fn choice(self, title: &str) -> Option<Choice> {
        Some(Choice {
            title: title.to_owned(),
            kernel: self.kernel?,
            initrds: self.initrds,
            cmdline: self.cmdline,
        })
    }
}

impl<'a> Machine<'a> {
    fn new(volumes: &'a Volumes, volume: usize, path: &str) -> Machine<'a> {
        let device = volumes.device(volume);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let variables = [
            ("root", device.clone()),
            ("prefix", format!("({device}){folder}")),
            ("grub_platform", "pc".to_owned()),
            ("grub_cpu", "x86_64".to_owned()),
            ("feature_menuentry_id", "y".to_owned()),
            ("feature_timeout_style", "y".to_owned()),
            ("feature_default_font_path", "y".to_owned()),
            ("feature_all_video_module", "y".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Machine {
            volumes,
            variables: BTreeMap::from(variables),
            functions: BTreeMap::new(),
            menu: Vec::new(),
            entries_left: ENTRIES_MAX,
            loaded: Loaded::default(),
            steps_left: STEPS_MAX,
            words_left: WORDS_MAX,
            calls: 0,
        }
    }

    /// The entry that `default` names: numbers, ids or titles, with `>` between menus.
    fn select(&mut self, menu: &[Entry], wish: &str) -> Result<Option<Choice>, ReadError> {
        let (first, rest) = wish.split_once('>').unwrap_or((wish, ""));
        let by_number = first
            .parse::<usize>()
            .ok()
            .and_then(|number| menu.get(number));
        let named = |entry: &&Entry| entry.id.as_deref() == Some(first) || entry.title == first;
        let Some(entry) = by_number
            .or_else(|| menu.iter().find(named))
            .or(menu.first())
        else {
            return Ok(None);
        };
        let Action::Menu(body) = &entry.action else {
            return self.open(entry);
        };
        if self.calls == CALLS_MAX {
            return Ok(None);
        }
        let outer = std::mem::take(&mut self.menu);
        self.calls += 1;
        self.run(body)?;
        let inner = std::mem::replace(&mut self.menu, outer);
        let found = self.select(&inner, rest);
        self.calls -= 1;
        found
    }

    /// What an entry would boot. A menu inside gives nothing here.
    fn open(&mut self, entry: &Entry) -> Result<Option<Choice>, ReadError> {
        match &entry.action {
            Action::Menu(_) => Ok(None),
            Action::Known(choice) => Ok(Some(choice.clone())),
            Action::Boot(body) => {
                let before = self.variables.clone();
                self.loaded = Loaded::default();
                self.run(body)?;
                self.variables = before;
                Ok(std::mem::take(&mut self.loaded).choice(&entry.title))
            }
        }
    }

    /// Counts a step. False: there were too many.
    fn step(&mut self) -> bool {
        let left = self.steps_left.checked_sub(1);
        self.steps_left = left.unwrap_or(0);
        left.is_some()
    }

    /// Runs statements. True: the last one succeeded.
    fn run(&mut self, block: &Block) -> Result<bool, ReadError> {
        let mut good = true;
        for statement in block.iter() {
            if !self.step() {
                return Ok(false);
            }
            good = match statement {
                Statement::Command { words, block } => {
                    let words = self.expand(words);
                    self.command(&words, block.as_ref())?
                }
                Statement::If { arms, otherwise } => self.conditional(arms, otherwise.as_ref())?,
                Statement::For { name, words, body } => {
                    for word in self.expand(words) {
                        self.set(name, word);
                        self.run(body)?;
                    }
                    true
                }
                Statement::Loop {
                    until,
                    condition,
                    body,
                } => {
                    while self.step() && self.run(condition)? != *until {
                        self.run(body)?;
                    }
                    true
                }
                Statement::Function { name, body } => {
                    if self.functions.len() < VARIABLES_MAX {
                        self.functions.insert(name.clone(), body.clone());
                    }
                    true
                }
            };
        }
        Ok(good)
    }

    fn conditional(
        &mut self,
        arms: &[(Block, Block)],
        otherwise: Option<&Block>,
    ) -> Result<bool, ReadError> {
        for (condition, body) in arms {
            if self.run(condition)? {
                return self.run(body);
            }
        }
        otherwise.map_or(Ok(true), |body| self.run(body))
    }

    fn set(&mut self, name: &str, mut value: String) {
        if value.len() > VALUE_MAX {
            let cut = (0..=VALUE_MAX).rev().find(|at| value.is_char_boundary(*at));
            value.truncate(cut.unwrap_or(0));
        }
        let known = self.variables.contains_key(name);
        if known || self.variables.len() < VARIABLES_MAX {
            self.variables.insert(name.to_owned(), value);
        }
    }

    /// Replaces variables. One that is not quoted falls into words, or vanishes when empty.
    fn expand(&mut self, words: &[Word]) -> Vec<String> {
        let mut all = Vec::new();
        let mut room = VALUE_MAX;
        for word in words {
            let mut now = String::new();
            let mut begun = word.stays();
            for piece in &word.pieces {
                let (text, splits) = match piece {
                    Piece::Text(text) => (text.as_str(), false),
                    Piece::Variable { name, quoted } => {
                        let value = self.variables.get(name).map_or("", String::as_str);
                        (value, !quoted)
                    }
                };
                room = room.saturating_sub(text.len());
                self.words_left = self.words_left.saturating_sub(text.len());
                if self.words_left == 0 {
                    self.steps_left = 0;
                }
                if room == 0 || self.words_left == 0 {
                    return all;
                }
                if !splits {
                    now.push_str(text);
                    begun = true;
                    continue;
                }
                for (number, part) in text.split_whitespace().enumerate() {
                    if number > 0 {
                        all.push(std::mem::take(&mut now));
                    }
                    now.push_str(part);
                    begun = true;
                }
            }
            if begun {
                all.push(now);
            }
        }
        all
    }

    fn command(&mut self, words: &[String], block: Option<&Block>) -> Result<bool, ReadError> {
        let Some((name, arguments)) = words.split_first() else {
            return Ok(true);
        };
        match (name.as_str(), block) {
            ("menuentry", Some(body)) => Ok(self.entry(arguments, Action::Boot(body.clone()))),
            ("submenu", Some(body)) => Ok(self.entry(arguments, Action::Menu(body.clone()))),
            ("set", _) => Ok(self.assign(arguments)),
            ("unset", _) => {
                arguments
                    .iter()
                    .for_each(|name| drop(self.variables.remove(name)));
                Ok(true)
            }
            ("[" | "test", _) => self.test(arguments),
            ("search", _) => self.search(arguments),
            ("search.fs_uuid" | "search.fs_label" | "search.file", _) => {
                let kind = name.trim_start_matches("search.").replace('_', "-");
                let kind = kind.replace("fs-label", "label");
                let [what, variable, ..] = arguments else {
                    return Ok(false);
                };
                self.search(&[
                    format!("--{kind}"),
                    format!("--set={variable}"),
                    what.clone(),
                ])
            }
            ("load_env", _) => self.load_environment(arguments),
            ("configfile" | "source" | "." | "normal", _) => self.file(arguments),
            ("blscfg", _) => self.specification(),
            ("linux" | "linux16" | "linuxefi", _) => Ok(self.linux(arguments)),
            ("initrd" | "initrd16" | "initrdefi", _) => {
                let names = arguments
                    .iter()
                    .filter_map(|path| self.locate(path))
                    .collect();
                self.loaded.initrds = names;
                Ok(self.loaded.initrds.len() == arguments.len())
            }
            ("cpuid" | "true" | "insmod" | "export" | "echo" | "save_env" | "clear", _)
            | ("terminal_output" | "terminal_input" | "serial" | "play" | "sleep", _) => Ok(true),
            (assignment, _) if assignment.contains('=') => Ok(self.assign(words)),
            (function, _) => self.call(function, arguments),
        }
    }

    fn entry(&mut self, arguments: &[String], action: Action) -> bool {
        let mut title = None;
        let mut id = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--id" => id = arguments.next().cloned(),
                "--class" | "--users" | "--hotkey" => drop(arguments.next()),
                flag if flag.starts_with("--id=") => id = Some(flag[5..].to_owned()),
                flag if flag.starts_with("--") => {}
                text => title = title.or(Some(text.to_owned())),
            }
        }
        self.add(Entry {
            title: title.unwrap_or_default(),
            id,
            action,
        })
    }

    fn add(&mut self, entry: Entry) -> bool {
        let room = self.entries_left > 0;
        if room {
            self.entries_left -= 1;
            self.menu.push(entry);
        }
        room
    }

    fn assign(&mut self, arguments: &[String]) -> bool {
        if let Some((name, value)) = arguments.first().and_then(|first| first.split_once('=')) {
            self.set(name, value.to_owned());
        }
        true
    }

    fn call(&mut self, name: &str, arguments: &[String]) -> Result<bool, ReadError> {
        let Some(body) = self.functions.get(name).cloned() else {
            return Ok(false); // a command that needs a screen, a network or firmware
        };
        if self.calls == CALLS_MAX {
            return Ok(false);
        }
        for (number, argument) in arguments.iter().take(9).enumerate() {
            self.set(&(number + 1).to_string(), argument.clone());
        }
        self.calls += 1;
        let good = self.run(&body);
        self.calls -= 1;
        good
    }

    /// A path with or without `(device)` in front.
    fn locate(&self, path: &str) -> Option<FileName> {
        let root = self.variables.get("root").map_or("", String::as_str);
        let (device, path) = match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((device, path)) => (device, path),
            None => (root, path),
        };
        let device = device.trim_start_matches('(').trim_end_matches(')');
        let volume = self.volumes.by_device(device)?;
        Some(FileName {
            volume,
            path: path.to_owned(),
        })
    }

    fn test(&mut self, arguments: &[String]) -> Result<bool, ReadError> {
        let words = match arguments.split_last() {
            Some((last, words)) if last == "]" => words,
            _ => arguments,
        };
        let mut trouble = None;
        let mut ask = |ask: Ask, path: &str| {
            let answer = match self.locate(path) {
                Some(file) => self
                    .volumes
                    .ask(&file, ask == Ask::NotEmpty, ask == Ask::Folder),
                None => Ok(false),
            };
            answer.unwrap_or_else(|error| {
                trouble = Some(error);
                false
            })
        };
        let truth = test::judge(words, &mut ask);
        trouble.map_or(Ok(truth), Err)
    }

    fn search(&mut self, arguments: &[String]) -> Result<bool, ReadError> {
        let (mut kind, mut variable, mut what) = ("--file", "root".to_owned(), None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "-u" | "--fs-uuid" => kind = "--fs-uuid",
                "-l" | "--label" | "--fs-label" => kind = "--label",
                "-f" | "--file" => kind = "--file",
                "--hint" | "-h" => drop(arguments.next()),
                flag if flag.starts_with("--set=") => variable = flag[6..].to_owned(),
                flag if flag.starts_with('-') => {}
                text => what = Some(text.to_owned()),
            }
        }
        let what = what.unwrap_or_default();
        let found = match kind {
            "--fs-uuid" => self.volumes.by_uuid(&what),
            "--label" => self.volumes.by_label(&what),
            _ => self.volumes.by_file(&what)?,
        };
        if let Some(volume) = found {
            self.set(&variable, self.volumes.device(volume));
        }
        Ok(found.is_some())
    }

    fn load_environment(&mut self, arguments: &[String]) -> Result<bool, ReadError> {
        let mut path = None;
        let mut only = Vec::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "-f" | "--file" => path = arguments.next().cloned(),
                flag if flag.starts_with("--file=") => path = Some(flag[7..].to_owned()),
                flag if flag.starts_with('-') => {}
                name => only.push(name),
            }
        }
        let prefix = self.variables.get("prefix").map_or("", String::as_str);
        let path = path.unwrap_or_else(|| format!("{prefix}/grubenv"));
        let Some(text) = self.text(&path)? else {
            return Ok(false);
        };
        for (name, value) in environment::parse(&text) {
            let wanted = only.is_empty() || only.contains(&name.as_str());
            if wanted && name != "next_entry" {
                self.set(&name, value);
            }
        }
        Ok(true)
    }

    fn text(&self, path: &str) -> Result<Option<String>, ReadError> {
        match self.locate(path) {
            Some(file) => self.volumes.text(&file),
            None => Ok(None),
        }
    }

    fn file(&mut self, arguments: &[String]) -> Result<bool, ReadError> {
        let Some(path) = arguments.first() else {
            return Ok(false);
        };
        if self.calls == CALLS_MAX {
            return Ok(false);
        }
        let Some(text) = self.text(path)? else {
            return Ok(false);
        };
        self.calls += 1;
        let good = self.run(&parse::parse(&text));
        self.calls -= 1;
        good
    }

    /// Fedora's command: the entries of the Boot Loader Specification become the menu.
    fn specification(&mut self) -> Result<bool, ReadError> {
        let root = self.variables.get("root").cloned().unwrap_or_default();
        let Some(volume) = self.volumes.by_device(&root) else {
            return Ok(false);
        };
        for (id, choice) in bls::entries(self.volumes, volume, &self.variables)? {
            let title = choice.title.clone();
            self.add(Entry {
                title,
                id: Some(id),
                action: Action::Known(choice),
            });
        }
        Ok(true)
    }

    fn linux(&mut self, arguments: &[String]) -> bool {
        let Some((path, words)) = arguments.split_first() else {
            return false;
        };
        self.loaded.kernel = self.locate(path);
        let words = words.iter().map(|word| match word.contains(' ') {
            true => format!("\"{word}\""), // as GRUB passes it on
            false => word.clone(),
        });
        self.loaded.cmdline = words.collect::<Vec<_>>().join(" ");
        self.loaded.kernel.is_some()
    }
}

//! A node made of nothing: performs outputs in memory, so that tests tell stories.
#![allow(clippy::unwrap_used, dead_code)]

use cloud::{Cloud, Config, Ended, Event, Launch, Output, Refusal, VmEvent};
use protocol::{
    Answer, ByteCount, Command, Digest, Moment, NewImage, NewVm, NodeId, Request, StopRequest,
    Timestamp, Vm, VmState,
};
use std::collections::BTreeMap;

pub struct World {
    pub cloud: Cloud,
    pub now_ms: u64,
    pub log: Vec<String>,
    pub launches: Vec<Launch>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub told: Vec<cloud::Publication>,
}

impl World {
    pub fn new(memory: ByteCount) -> Self {
        Self::of_node(1, memory)
    }

    pub fn of_node(number: u8, memory: ByteCount) -> Self {
        let (node, seed) = (NodeId::from_bytes([number; 16]), [number + 6; 32]);
        Self {
            cloud: Cloud::new(Config { node, seed, memory }),
            now_ms: 1_000,
            log: Vec::new(),
            launches: Vec::new(),
            blobs: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// With an image `img` of a kernel, an initrd and a disk of 1 MiB.
    pub fn with_image() -> Self {
        let mut world = Self::new(ByteCount::gib(1));
        world.add_image();
        world
    }

    pub fn add_image(&mut self) {
        let world = self;
        let kernel = world.upload(b"kernel");
        let initrd = Some(world.upload(b"initrd"));
        let disk = Some(world.upload(&vec![9; 1 << 20]));
        let cmdline = "console=ttyS0".to_owned();
        let image = NewImage {
            name: "img".parse().unwrap(),
            kernel,
            initrd,
            disk,
            cmdline,
        };
        world.ask(Command::CreateImage(image)).unwrap();
    }

    pub fn now(&self) -> Moment {
        let wall = Timestamp::from_unix_ms(1_700_000_000_000 + self.now_ms);
        Moment {
            uptime_ms: self.now_ms,
            wall,
        }
    }

    pub fn ask(&mut self, command: Command) -> Result<Answer, Refusal> {
        self.request(command.into())
    }

    pub fn request(&mut self, request: Request) -> Result<Answer, Refusal> {
        let answer = self.cloud.handle(self.now(), request);
        self.perform();
        answer
    }

    pub fn upload(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let (size, bytes) = (bytes.len() as u64, bytes.to_vec());
        self.ask(Command::PutBlob {
            digest,
            size,
            offset: 0,
            bytes,
        })
        .unwrap();
        digest
    }

    pub fn create(&mut self, name: &str) -> Vm {
        self.try_create(name, ByteCount::mib(128)).unwrap()
    }

    pub fn try_create(&mut self, name: &str, memory: ByteCount) -> Result<Vm, Refusal> {
        let mut new = NewVm::new(name.parse().unwrap(), "img".parse().unwrap());
        new.memory = memory;
        match self.ask(Command::CreateVm(new))? {
            Answer::VmCreated(vm) => Ok(vm),
            other => panic!("{other:?}"),
        }
    }

    pub fn stop(&mut self, name: &str, force: bool, force_after_ms: Option<u64>) -> VmState {
        let how = StopRequest {
            force,
            force_after_ms,
        };
        self.ask(Command::StopVm(name.parse().unwrap(), how))
            .unwrap();
        self.state(name)
    }

    pub fn vm(&self, name: &str) -> Option<Vm> {
        self.cloud.vm(&name.parse().unwrap()).ok().cloned()
    }

    pub fn state(&self, name: &str) -> VmState {
        self.vm(name).unwrap().state
    }

    pub fn reason(&self, name: &str) -> String {
        self.vm(name).unwrap().reason.unwrap_or_default()
    }

    /// Something happens to the newest process of a VM.
    pub fn happens(&mut self, name: &str, what: VmEvent) {
        let launch = self
            .launches
            .iter()
            .rev()
            .find(|launch| launch.name.as_str() == name);
        let (vm, run) = launch.map(|launch| (launch.vm, launch.run)).unwrap();
        self.event(Event::Vm { vm, run, what });
    }

    pub fn exits(&mut self, name: &str) {
        self.happens(name, VmEvent::Exited(Ended::Code(0)));
    }

    /// Up to running.
    pub fn boots(&mut self, name: &str) {
        self.happens(name, VmEvent::VmmStarted);
        self.happens(name, VmEvent::Running);
        assert_eq!(self.state(name), VmState::Running);
    }

    pub fn event(&mut self, event: Event) {
        self.cloud.handle_event(self.now(), event);
        self.perform();
    }

    /// Lets time pass, waking the core when it wants to be woken.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.cloud.next_timeout().filter(|due| *due <= end) {
            self.now_ms = due.max(self.now_ms);
            self.cloud.handle_timeout(self.now());
            self.perform();
            let next = self.cloud.next_timeout();
            assert!(
                next.is_none_or(|next| next > due),
                "a deadline that does not pass"
            );
        }
        self.now_ms = end;
    }

    /// What was asked of the node since the last call, in words.
    pub fn asked(&mut self) -> String {
        std::mem::take(&mut self.log).join(" ")
    }

    pub fn perform(&mut self) {
        while let Some(output) = self.cloud.poll_output() {
            let word = match output {
                Output::SpawnVm(launch) => {
                    let word = format!("spawn:{}", launch.run);
                    self.launches.push(launch);
                    word
                }
                Output::PressPowerButton { run, .. } => format!("button:{run}"),
                Output::ResetVm { run, .. } => format!("reset:{run}"),
                Output::KillVm { run, .. } => format!("kill:{run}"),
                Output::ForgetVm { name, .. } => format!("forget:{name}"),
                Output::VmChanged { .. } => continue,
                Output::CreateBlob { digest, size } => {
                    self.blobs.insert(digest, Vec::new());
                    format!("create:{size}")
                }
                Output::AppendBlob {
                    digest,
                    offset,
                    bytes,
                } => {
                    let stored = self.blobs.get_mut(&digest).unwrap();
                    assert_eq!(stored.len() as u64, offset);
                    stored.extend(&bytes);
                    format!("append:{}", bytes.len())
                }
                Output::SealBlob { digest } => {
                    assert_eq!(Digest::of(&self.blobs[&digest]), digest);
                    "seal".to_owned()
                }
                Output::Publish(publication) => {
                    self.told.push(publication);
                    continue;
                }
                Output::DropBlob { digest } => {
                    assert!(self.blobs.remove(&digest).is_some());
                    "drop".to_owned()
                }
            };
            self.log.push(word);
        }
        self.cloud.check();
    }
}

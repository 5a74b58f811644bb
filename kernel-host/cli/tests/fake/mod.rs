//! A node made of the real API and the real cloud, on a loopback port; only the guests are pretend.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::result_large_err,
    clippy::collapsible_match,
    dead_code
)]

use api::{Call, Reply, RequestHead};
use cloud::{Atlas, Cloud, Config, Ended, Event, Launch, Output, VmEvent};
use protocol::{
    Answer, ByteCount, Code, Command, ConsoleNotice, Digest, EnergyAccount, EnergyKind,
    EnergySource, KvmStatus, Microjoules, Microwatts, Moment, Node, NodeAddress, NodeEnergy,
    NodeId, NodeMemory, NodeState, Page, PowerReply, Problem, ProcessUse, Selector, Timestamp,
    VmId, VmState, Wish,
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tungstenite::{Message, WebSocket, handshake::derive_accept_key, protocol::Role};

/// The node that is there.
pub const ME: NodeId = NodeId::from_bytes([3; 16]);

/// How the node misbehaves, for tests that want it to.
#[derive(Debug, Default)]
pub struct Faults {
    /// Answers that are computed but never sent: the connection closes instead.
    pub lost_answers: u32,
    /// Pieces of blobs of which the connection breaks before they are taken.
    pub lost_pieces: u32,
    /// The node says it is not ready that many times.
    pub not_ready: u32,
    /// The node is off.
    pub silent: bool,
}

struct State {
    cloud: Cloud,
    started: Instant,
    booted: Instant,
    faults: Faults,
    consoles: BTreeMap<VmId, Vec<u8>>,
    /// Guest events to come, and when.
    due: Vec<(Instant, Event)>,
    launches: BTreeMap<VmId, Launch>,
    /// Bytes that clients typed.
    typed: BTreeMap<VmId, Vec<u8>>,
    keyboard: BTreeMap<VmId, u64>,
    clients: u64,
    /// The rest of the cluster: directory and records.
    nodes: Vec<cloud::NodeSight>,
    sites: Vec<cloud::SiteSight>,
    records: Vec<protocol::peer::Record>,
    pending: Vec<protocol::PendingNode>,
    events: cloud::Events,
    requests: Vec<String>,
}

#[derive(Clone)]
pub struct FakeNode {
    state: Arc<Mutex<State>>,
    pub port: u16,
}

impl FakeNode {
    pub fn start() -> Self {
        Self::with_memory(ByteCount::gib(1))
    }

    pub fn with_memory(memory: ByteCount) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Config {
            node: NodeId::from_bytes([3; 16]),
            seed: [5; 32],
            memory,
        };
        let mut cloud = Cloud::new(config);
        let now = Moment {
            uptime_ms: 0,
            wall: Timestamp::default(),
        };
        let machine = Event::Machine {
            cpus: 2,
            load_permille: 0,
            kvm: true,
        };
        cloud.handle_event(now, machine);
        let state = Arc::new(Mutex::new(State {
            cloud,
            started: Instant::now(),
            booted: Instant::now(),
            faults: Faults::default(),
            consoles: BTreeMap::new(),
            due: Vec::new(),
            launches: BTreeMap::new(),
            typed: BTreeMap::new(),
            keyboard: BTreeMap::new(),
            clients: 0,
            nodes: vec![cloud::NodeSight::alone(ME, "fake")],
            sites: Vec::new(),
            records: Vec::new(),
            pending: Vec::new(),
            events: cloud::Events::default(),
            requests: Vec::new(),
        }));
        let node = Self { state, port };
        let server = node.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        node
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn with_faults(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.state.lock().unwrap().faults);
    }

    /// The node is one of a cluster; the others exist only in its directory and records.
    pub fn joins(
        &self,
        mut nodes: Vec<cloud::NodeSight>,
        sites: Vec<cloud::SiteSight>,
        records: Vec<protocol::peer::Record>,
    ) {
        let mut state = self.state.lock().unwrap();
        nodes.push(cloud::NodeSight {
            site: sites[0].id,
            ..cloud::NodeSight::alone(ME, "fake")
        });
        (state.nodes, state.sites, state.records) = (nodes, sites, records);
    }

    pub fn has_waiting(&self, pending: protocol::PendingNode) {
        self.state.lock().unwrap().pending.push(pending);
    }

    pub fn sees(&self, kind: &'static str, subject: &str, text: &str) {
        let mut state = self.state.lock().unwrap();
        let at = state.now().wall;
        state.events.add(at, kind, Some(ME), subject, text);
    }

    /// Requests so far: method and target.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    pub fn typed(&self, vm: &str) -> Vec<u8> {
        let mut state = self.state.lock().unwrap();
        let id = state.cloud.vm(&vm.parse().unwrap()).unwrap().id;
        state.typed.remove(&id).unwrap_or_default()
    }

    /// The guest prints.
    pub fn prints(&self, vm: &str, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let id = state.cloud.vm(&vm.parse().unwrap()).unwrap().id;
        state
            .consoles
            .entry(id)
            .or_default()
            .extend_from_slice(bytes);
    }

    /// Something happens to the newest process of a VM.
    pub fn happens(&self, vm: &str, what: VmEvent) {
        let mut state = self.state.lock().unwrap();
        let found = state.cloud.vm(&vm.parse().unwrap()).unwrap();
        let (vm, run) = (found.id, found.starts);
        let now = state.now();
        state.cloud.handle_event(now, Event::Vm { vm, run, what });
        state.perform();
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut buffered = Vec::new();
        while let Some((head, rest)) = read_head(&mut stream, buffered) {
            match self.answer(&mut stream, &head, rest) {
                Some(left) => buffered = left,
                None => return,
            }
        }
    }

    fn answer(&self, stream: &mut TcpStream, head: &Head, rest: Vec<u8>) -> Option<Vec<u8>> {
        let api_head = RequestHead {
            method: &head.method,
            target: &head.target,
            content_type: head.get("content-type"),
            content_length: head
                .get("content-length")
                .and_then(|text| text.parse().ok()),
            idempotency_key: head.get("idempotency-key"),
            websocket: head.get("upgrade").is_some(),
        };
        let length = api_head.content_length.unwrap_or(0) as usize;
        let (body, left) = read_body(stream, rest, length)?;
        self.state
            .lock()
            .unwrap()
            .requests
            .push(format!("{} {}", head.method, head.target));
        let call = api::body_max(&api_head).and_then(|_| api::parse(&api_head, body));
        let wish = api::wish(&api_head).unwrap_or_default();
        if let Ok(Call::Console { vm, take, .. }) = call {
            self.console(stream, head, &vm, take);
            return None;
        }
        let mut state = self.state.lock().unwrap();
        if state.faults.silent {
            return None;
        }
        let is_piece = head.method == "PUT";
        if is_piece && state.faults.lost_pieces > 0 {
            state.faults.lost_pieces -= 1;
            return None;
        }
        let reply = state.call(call, &wish);
        if state.faults.lost_answers > 0 && head.method != "GET" {
            state.faults.lost_answers -= 1;
            return None;
        }
        drop(state);
        write_reply(stream, reply);
        Some(left)
    }

    fn console(&self, stream: &mut TcpStream, head: &Head, vm: &Selector, take: bool) {
        let (found, me, writer) = {
            let mut state = self.state.lock().unwrap();
            let found = match state.cloud.vm(vm) {
                Ok(found) => found.clone(),
                Err(refusal) => {
                    drop(state);
                    write_reply(stream, Reply::problem(refusal, "fake"));
                    return;
                }
            };
            state.clients += 1;
            let me = state.clients;
            if take {
                state.keyboard.insert(found.id, me);
            }
            let writer = state
                .keyboard
                .get(&found.id)
                .is_none_or(|owner| *owner == me);
            (found, me, writer)
        };
        let accept = derive_accept_key(head.get("sec-websocket-key").unwrap().as_bytes());
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        )
        .unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
        let notice = ConsoleNotice::Attached {
            state: found.state,
            writer,
            from: 0,
            clients: 1,
        };
        socket
            .send(Message::text(serde_json::to_string(&notice).unwrap()))
            .unwrap();
        let mut sent = 0;
        let mut last = (found.state, writer);
        loop {
            let (bytes, now, mine) = {
                let mut state = self.state.lock().unwrap();
                state.perform();
                let bytes = state.consoles.get(&found.id).cloned().unwrap_or_default();
                let now = state.cloud.vm(&found.id.into()).map(|vm| vm.state);
                let owner = state.keyboard.get(&found.id).copied();
                (
                    bytes,
                    now.unwrap_or(VmState::Deleting),
                    owner.is_none_or(|owner| owner == me),
                )
            };
            for piece in bytes[sent..].chunks(1000) {
                if socket.send(Message::binary(piece.to_vec())).is_err() {
                    return;
                }
            }
            sent = bytes.len();
            if mine != last.1 {
                let notice = ConsoleNotice::Writer { yours: mine };
                drop(socket.send(Message::text(serde_json::to_string(&notice).unwrap())));
            }
            if now != last.0 {
                let notice = ConsoleNotice::State {
                    state: now,
                    reason: None,
                };
                drop(socket.send(Message::text(serde_json::to_string(&notice).unwrap())));
            }
            last = (now, mine);
            if matches!(now, VmState::Stopped | VmState::Failed | VmState::Deleting) {
                drop(socket.close(None));
                while socket.read().is_ok() {}
                return;
            }
            match socket.read() {
                Ok(Message::Binary(bytes)) => {
                    let mut state = self.state.lock().unwrap();
                    if *state.keyboard.entry(found.id).or_insert(me) == me {
                        state
                            .typed
                            .entry(found.id)
                            .or_default()
                            .extend_from_slice(&bytes);
                        // The guest echoes.
                        state
                            .consoles
                            .entry(found.id)
                            .or_default()
                            .extend_from_slice(&bytes);
                    }
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => {
                    let mut state = self.state.lock().unwrap();
                    if state.keyboard.get(&found.id) == Some(&me) {
                        state.keyboard.remove(&found.id);
                    }
                    return;
                }
            }
        }
    }
}

impl State {
    fn now(&self) -> Moment {
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let wall = Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap());
        Moment { uptime_ms, wall }
    }

    fn atlas(&self) -> Atlas {
        let (nodes, sites) = (self.nodes.clone(), self.sites.clone());
        Atlas::new(self.now().wall, &self.cloud, nodes, sites, &self.records)
    }

    fn cluster(&mut self, call: &Call, wish: &Wish) -> Result<Reply, Problem> {
        let atlas = self.atlas();
        let none = || {
            Problem::new(
                Code::NoCluster,
                "This node belongs to no cluster",
                "Make one",
            )
        };
        match call {
            Call::ListNodes(page) => Ok(Reply::listed(&atlas.nodes(wish, page)?)),
            Call::ShowNodeEntry(node) => Ok(Reply::listed(&atlas.entry(atlas.find_node(node)?))),
            Call::RemoveNode(node) => {
                let id = atlas.find_node(node)?.id;
                let node = self.nodes.iter_mut().find(|node| node.id == id).unwrap();
                node.removed = true;
                let node = node.clone();
                Ok(Reply::accepted(&self.atlas().entry(&node)))
            }
            Call::ListSites => Ok(Reply::listed(&atlas.sites())),
            Call::ListPending if self.sites.is_empty() => Err(none()),
            Call::ListPending => Ok(Reply::listed(&Page {
                items: self.pending.clone(),
                next: None,
                notes: Vec::new(),
            })),
            Call::ApproveNode(approve) => {
                let found = self.pending.iter().find(|one| one.code == approve.code);
                let none = || Problem::new(Code::NotFound, "No machine shows this code", "Look");
                Ok(Reply::accepted(found.ok_or_else(none)?))
            }
            Call::TellWord(said) => match said.word.parse::<identity::publication::Word>() {
                Ok(word) => Ok(Reply::accepted(&protocol::OwnerWordTaken {
                    what: word.what(),
                })),
                Err(error) => Err(Problem::new(Code::BadValue, error.to_string(), "Look")),
            },
            Call::ListEvents { after, .. } => Ok(Reply::listed(&self.events.after(*after))),
            _ => unreachable!(),
        }
    }

    /// The node itself does it, or nobody: the others don't exist.
    fn check_host(&self, request: &protocol::Request, wish: &Wish) -> Result<(), Problem> {
        let atlas = self.atlas();
        let host = match &request.command {
            Command::CreateVm(new) => atlas.candidates(new, wish)?[0],
            Command::StartVm(vm) | Command::StopVm(vm, _) | Command::ResetVm(vm) => {
                atlas.find(vm)?.vm.node
            }
            _ => match &wish.node {
                Some(node) => atlas.find_node(node)?.id,
                None => ME,
            },
        };
        let node = atlas.place(host).name;
        match host == ME {
            true => Ok(()),
            false => Err(cloud::Refusal::HostSilent { node, what: None }.into()),
        }
    }

    fn answer(&mut self, request: protocol::Request, wish: &Wish) -> Result<Answer, Problem> {
        if let Some(answer) = self.atlas().answer(&request.command, wish) {
            return Ok(answer?);
        }
        self.check_host(&request, wish)?;
        let answer = self.cloud.handle(self.now(), request)?;
        Ok(self.atlas().dress(answer))
    }

    fn call(&mut self, call: Result<Call, Problem>, wish: &Wish) -> Reply {
        self.perform();
        let reply = match call {
            Err(problem) => Reply::problem(problem, "fake-1"),
            Ok(Call::Home) => Reply::home("fake"),
            Ok(Call::OpenApi) => Reply::openapi(),
            Ok(Call::ShowNode | Call::ShowEnergy | Call::PowerOff | Call::Reboot)
                if self.is_for_another(wish) =>
            {
                let problem = Problem::new(Code::HostSilent, "Node `far` does not answer", "Wait");
                Reply::problem(problem, "fake-6")
            }
            Ok(Call::ShowNode) => Reply::node(&self.node()),
            Ok(Call::ShowEnergy) => Reply::listed(&self.energy()),
            Ok(Call::Metrics) => Reply::text(""),
            Ok(call @ (Call::PowerOff | Call::Reboot)) => {
                self.faults.silent = call == Call::PowerOff;
                self.faults.not_ready = 2;
                self.booted = Instant::now();
                let (node, state) = (NodeId::from_bytes([3; 16]), NodeState::GoingDown);
                Reply::power(&PowerReply { node, state })
            }
            Ok(
                call @ (Call::ListNodes(_)
                | Call::ShowNodeEntry(_)
                | Call::RemoveNode(_)
                | Call::ListPending
                | Call::ApproveNode(_)
                | Call::TellWord(_)
                | Call::ListSites
                | Call::ListEvents { .. }),
            ) => self
                .cluster(&call, wish)
                .unwrap_or_else(|problem| Reply::problem(problem, "fake-5")),
            Ok(Call::Cloud(request)) => match self.answer(request, wish) {
                Ok(answer) => {
                    if let Answer::VmCreated(vm) = &answer {
                        self.consoles.insert(vm.id, Vec::new());
                    }
                    Reply::answer(&answer)
                }
                Err(problem) => Reply::problem(problem, "fake-2"),
            },
            Ok(Call::ConsoleLog { vm }) => match self.cloud.vm(&vm) {
                Ok(vm) => Reply::text(self.consoles.get(&vm.id).cloned().unwrap_or_default()),
                Err(refusal) => Reply::problem(refusal, "fake-3"),
            },
            Ok(Call::Console { .. }) => {
                Reply::problem(Problem::new(Code::Internal, "not here", "no"), "fake-4")
            }
        };
        self.perform();
        reply
    }

    fn is_for_another(&self, wish: &Wish) -> bool {
        let node = wish
            .node
            .as_ref()
            .map(|node| self.atlas().find_node(node).unwrap().id);
        node.is_some_and(|node| node != ME)
    }

    /// Each VM draws 10 W, and the rest of 100 W is idle or LUC OS.
    fn energy(&self) -> NodeEnergy {
        let account = |kind, name: &str, vm, watts: u64| EnergyAccount {
            kind,
            name: name.to_owned(),
            vm,
            power_uw: Microwatts(watts * 1_000_000),
            active_uj: Microjoules(watts * 3_000_000),
            idle_uj: Microjoules(watts * 1_000_000),
            bar_uj: Microjoules(watts * 100_000),
        };
        let vms = self.cloud.vms().filter(|vm| vm.state == VmState::Running);
        let mut accounts: Vec<_> = vms
            .map(|vm| account(EnergyKind::Vm, vm.name.as_str(), Some(vm.id), 10))
            .collect();
        let sold = 10 * accounts.len() as u64;
        accounts.push(account(EnergyKind::Service, "node", None, 1));
        accounts.push(account(EnergyKind::Unsold, "idle, unsold", None, 99 - sold));
        NodeEnergy {
            node: ME,
            name: "fake".to_owned(),
            now: self.now().wall,
            epoch: 1,
            interval_ms: 1000,
            power_uw: Microwatts::from_watts(100),
            bar_uw: Microwatts::from_watts(49),
            class: "guess".to_owned(),
            reason: "a model of this machine's load: no meter answers".to_owned(),
            alarm: false,
            load_permille: 250,
            idle_uw: Microwatts::from_watts(60),
            energy_uj: accounts.iter().map(EnergyAccount::energy).sum(),
            accounts,
            sources: vec![EnergySource {
                name: "rapl".to_owned(),
                state: "quarantined".to_owned(),
                detail: Some("a RAPL zone below /sys/class/powercap is not there".to_owned()),
                power_uw: None,
                age_ms: None,
                rounds: 9,
                faults: 9,
            }],
        }
    }

    fn node(&mut self) -> Node {
        let ready = self.faults.not_ready == 0;
        self.faults.not_ready = self.faults.not_ready.saturating_sub(1);
        let memory = self.cloud.memory();
        let counters = self.cloud.counters().list();
        Node {
            id: NodeId::from_bytes([3; 16]),
            name: "fake".to_owned(),
            version: "0.0.0".to_owned(),
            kernel: "6.12".to_owned(),
            state: if ready {
                NodeState::Ready
            } else {
                NodeState::Starting
            },
            reason: (!ready).then(|| "waiting for an address".to_owned()),
            addresses: vec![NodeAddress {
                nic: "eth0".to_owned(),
                address: "192.0.2.7/24".to_owned(),
                gateway: Some("192.0.2.1".to_owned()),
            }],
            now: self.now().wall,
            uptime_ms: u64::try_from(self.booted.elapsed().as_millis()).unwrap(),
            timeline: vec![protocol::BootStage {
                stage: "init".to_owned(),
                at_ms: 1200,
            }],
            cpus: 2,
            memory: NodeMemory {
                total: ByteCount::gib(2),
                available: ByteCount::gib(1),
                for_guests: memory.capacity,
                reserved: memory.reserved,
            },
            kvm: KvmStatus {
                usable: true,
                detail: None,
            },
            vms: u32::try_from(self.cloud.vms().count()).unwrap(),
            images: u32::try_from(self.cloud.image_count()).unwrap(),
            processes: vec![ProcessUse {
                name: "node".to_owned(),
                pid: 2,
                resident: ByteCount::mib(9),
                open_files: 12,
            }],
            counters: counters
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
        }
    }

    /// Guests live: outputs become events, at once or a little later.
    fn perform(&mut self) {
        let now = Instant::now();
        loop {
            self.due.sort_by_key(|(at, _)| *at);
            if self.due.first().is_some_and(|(at, _)| *at <= now) {
                let (_, event) = self.due.remove(0);
                if let Event::Vm {
                    vm,
                    what: VmEvent::FirstOutput,
                    ..
                } = &event
                {
                    let line = format!("hello from {}\r\n", self.launches[vm].cmdline);
                    self.consoles
                        .entry(*vm)
                        .or_default()
                        .extend_from_slice(line.as_bytes());
                }
                let moment = self.now();
                self.cloud.handle_event(moment, event);
            }
            let moment = self.now();
            if self
                .cloud
                .next_timeout()
                .is_some_and(|due| due <= moment.uptime_ms)
            {
                self.cloud.handle_timeout(moment);
            }
            match self.cloud.poll_output() {
                Some(output) => self.act(output, now),
                None if self.due.first().is_some_and(|(at, _)| *at <= now) => {}
                None => break,
            }
        }
        self.cloud.check();
    }

    fn act(&mut self, output: Output, now: Instant) {
        let mut later = |ms, vm, run, what| {
            self.due
                .push((now + Duration::from_millis(ms), Event::Vm { vm, run, what }));
        };
        match output {
            Output::SpawnVm(launch) => {
                let (vm, run) = (launch.vm, launch.run);
                later(5, vm, run, VmEvent::VmmStarted);
                if launch.cmdline.contains("crash") {
                    later(10, vm, run, VmEvent::TripleFault);
                } else {
                    // Long enough that who waits sees it wait, on a loaded machine too.
                    later(200, vm, run, VmEvent::Running);
                    later(210, vm, run, VmEvent::FirstOutput);
                }
                self.launches.insert(vm, launch);
            }
            Output::PressPowerButton { vm, run } => {
                if !self.launches[&vm].cmdline.contains("stubborn") {
                    later(10, vm, run, VmEvent::GuestShutdown);
                    later(15, vm, run, VmEvent::Exited(Ended::Code(0)));
                }
            }
            Output::ResetVm { vm, run } => {
                later(5, vm, run, VmEvent::GuestReset);
                later(10, vm, run, VmEvent::Exited(Ended::Code(0)));
            }
            Output::KillVm { vm, run } => {
                later(10, vm, run, VmEvent::Exited(Ended::Signal(9)));
            }
            Output::ForgetVm { vm, .. } => {
                self.consoles.remove(&vm);
            }
            _ => {}
        }
    }
}

pub struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

fn read_head(stream: &mut TcpStream, mut bytes: Vec<u8>) -> Option<(Head, Vec<u8>)> {
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
    };
    let rest = bytes.split_off(end + 4);
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some((
        Head {
            method,
            target,
            headers: lines.filter_map(header).collect(),
        },
        rest,
    ))
}

fn read_body(
    stream: &mut TcpStream,
    mut bytes: Vec<u8>,
    length: usize,
) -> Option<(Vec<u8>, Vec<u8>)> {
    while bytes.len() < length {
        let mut piece = vec![0; 64 << 10];
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
    }
    let left = bytes.split_off(length);
    Some((bytes, left))
}

fn write_reply(stream: &mut TcpStream, reply: Reply) {
    let mut head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: {}\r\ncontent-length: {}\r\ndate: {}\r\n",
        reply.status,
        reply.content_type,
        reply.body.len(),
        http_date(),
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // In one piece: two would wait for each other's acknowledgement.
    let whole = [head.as_bytes(), &reply.body].concat();
    drop(stream.write_all(&whole));
}

/// Now, as HTTP writes it.
fn http_date() -> String {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap()).to_string();
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month: usize = now[5..7].parse().unwrap();
    format!(
        "Wed, {} {} {} {} GMT",
        &now[8..10],
        months[month - 1],
        &now[..4],
        &now[11..19]
    )
}

/// Digest of some bytes, for tests that look at blobs.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

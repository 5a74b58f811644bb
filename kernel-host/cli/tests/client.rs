//! The client as another program uses it: typed methods, no arguments, no text.
#![allow(clippy::unwrap_used, clippy::result_large_err)]

mod fake;

use cli::{
    client::{Client, NodeAddress},
    wait::{Condition, wait_for_node, wait_for_vm},
};
use protocol::{ByteCount, Code, Digest, NewImage, NewVm, Selector, StopRequest, VmState, limits};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn setup(memory: ByteCount) -> (fake::FakeNode, Client) {
    let node = fake::FakeNode::with_memory(memory);
    let client = Client::new(NodeAddress::new("127.0.0.1", node.port));
    let kernel = Digest::of(b"a kernel");
    client.put_blob(kernel, 8, 0, b"a kernel").unwrap();
    let (name, cmdline) = ("img".parse().unwrap(), String::new());
    client
        .create_image(&NewImage {
            name,
            kernel,
            initrd: None,
            disk: None,
            cmdline,
        })
        .unwrap();
    (node, client)
}

fn new_vm(name: &str) -> NewVm {
    let mut new = NewVm::new(name.parse().unwrap(), "img".parse().unwrap());
    new.memory = limits::VM_MEMORY_MIN;
    new
}

#[test]
fn a_program_runs_a_vm_from_begin_to_end() {
    let (_node, client) = setup(ByteCount::gib(1));
    wait_for_node(&client, PATIENCE, |_| {}).unwrap();
    let vm = client.create_vm(&new_vm("a")).unwrap();
    let a: Selector = vm.id.into();
    let hello = Condition::Console("hello from".to_owned());
    wait_for_vm(&client, &a, &hello, PATIENCE, |_| {}).unwrap();
    let running = client.show_vm(&a).unwrap();
    assert_eq!(
        (running.state, running.timeline.len()),
        (VmState::Running, 4)
    );
    assert!(client.console_log(&a).unwrap().starts_with(b"hello from"));
    assert_eq!(
        client.stop_vm(&a, StopRequest::default()).unwrap().state,
        VmState::Stopping
    );
    wait_for_vm(&client, &a, &Condition::Stopped, PATIENCE, |_| {}).unwrap();
    client.start_vm(&a).unwrap();
    wait_for_vm(&client, &a, &Condition::Running, PATIENCE, |_| {}).unwrap();
    client.delete_vm(&a).unwrap();
    assert!(
        wait_for_vm(&client, &a, &Condition::Deleted, PATIENCE, |_| {})
            .unwrap()
            .is_none()
    );
    assert_eq!(client.show_vm(&a).unwrap_err().code, Code::NotFound);
    client.delete_image(&"img".parse().unwrap()).unwrap();
    assert!(client.list_images().unwrap().items.is_empty());
    assert!(client.node_now().is_some());
    assert!(client.openapi().unwrap()["paths"]["/v1/vms"].is_object());
}

#[test]
fn long_lists_come_page_by_page() {
    let (node, client) = setup(ByteCount::gib(64));
    let count = limits::PAGE_ITEMS_MAX as usize + 20;
    for n in 0..count {
        client.create_vm(&new_vm(&format!("v{n}"))).unwrap();
    }
    node.requests();
    let vms = client.list_vms().unwrap().items;
    assert_eq!(vms.len(), count);
    assert!(
        vms.windows(2).all(|pair| pair[0].name < pair[1].name),
        "not sorted"
    );
    assert_eq!(node.requests().len(), 2);
}

#[test]
fn something_else_than_a_node_is_told_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            use std::io::{Read, Write};
            let mut stream = stream;
            drop(stream.read(&mut [0; 1000]));
            let reply: &[u8] = match n % 2 {
                0 => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
                _ => b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            };
            drop(stream.write_all(reply));
        }
    });
    let node = NodeAddress::new("127.0.0.1", port);
    let client = Client::with_timeout(node, Duration::from_secs(5), 0);
    for _ in 0..2 {
        let problem = client.show_node().unwrap_err();
        assert_eq!(problem.code, Code::Unreachable);
        assert!(problem.advice.contains("LUC OS node"), "{problem:?}");
    }
}

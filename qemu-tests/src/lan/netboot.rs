//! Our own netboot server on a station of the wire.
//!
//! Does:      runs the image builder's server as an operator would, with a log of what it says.
//! Does not:  contain a server.
//! Bounds:    the server's own.
//! Trusts:    the image it serves.
//! Start at:  `serve`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use image_builder::Image;
use image_builder::netboot::{Config, Files, Server};
use netcore::dhcp::server::{Mode, PoolSettings};

use super::station::Station;
use super::{SERVER, Subnet};
use crate::scenario::{Problem, chain};

/// First and last number for machines.
const POOL: [u8; 2] = [100, 199];
/// Longer than any scenario.
const LEASE_SECONDS: u32 = 3600;

/// Starts a full DHCP, TFTP and HTTP server with the image's files on a station.
pub fn serve(station: &Station, subnet: Subnet, image: &Path, log: &Path) -> Result<(), Problem> {
    let image = Image::open(image).map_err(|error| Problem::broken(chain(&error)))?;
    let files = Files::of_image(&image).map_err(|error| Problem::broken(chain(&error)))?;
    let log = File::create(log)?;
    let address = subnet.at(SERVER);
    let pool = PoolSettings {
        first: subnet.at(POOL[0]),
        last: subnet.at(POOL[1]),
        prefix_len: super::PREFIX,
        router: Some(subnet.router()),
        dns: vec![address],
        ntp: Vec::new(),
        domain: None,
        lease_seconds: LEASE_SECONDS,
    };
    let started = station.run(move |stack| {
        let listener = move |event: &_| {
            let _ = writeln!(&log, "{event}"); // a full disk shows elsewhere
        };
        let config = Config {
            listener: Rc::new(listener),
            ..Config::new(address, Mode::Full(pool), files)
        };
        let mut server = Server::on_stack(stack, config).map_err(|error| chain(&error))?;
        let task = async move {
            let problem = server.failure().await;
            eprintln!("rig: the netboot server failed: {}", chain(&problem));
        };
        stack
            .executor()
            .spawn_detached(task)
            .map_err(|error| error.to_string())
    })?;
    started.map_err(Problem::Broken)
}

//! The order of the start and of the end.
//!
//! Start: configuration, background, log, limits, command table, listeners, one thread for each
//! shard (which sets up its ring), and when all of them stand, the word to log and supervisor.
//! End: the shards answer what they have taken up and end their connections; then sockets and the
//! pid file are removed.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::config::{self, Config, Launch, Startup, as_path};
use super::load::Intake;
use super::placement::Placement;
use super::process::{self, Resource, Supervisor};
use super::{
    background, check_rdb, check_system, cpus, export, log, recovery, ring_probe, signals, snapshot,
};
use crate::command::FAMILIES;
use crate::command::registry::Registry;
use crate::keyspace;
use crate::mesh::{ShardId, mesh};
use crate::net::engine::Engine;
use crate::reactor::ports::{Port, Ports};
use crate::reactor::run::{Reactor, Wiring};
use crate::reactor::{clock, socket};
use crate::shard::node::Node;
use crate::shard::{Shard, Ticks};
use crate::stdx::allocator;
use crate::storage::check::{self, Verdict};

/// The version of Redis whose behaviour clients may expect, as INFO and HELLO tell it.
pub const REDIS_VERSION: &str = "7.4.0";
/// How often the start looks whether all shards serve.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Does what the command line asks for.
pub fn main(args: &[OsString]) -> ExitCode {
    match config::load(args) {
        Ok(Startup::Run(launch)) => run(*launch),
        Ok(Startup::Version) => {
            println!(
                "Ringdove server v={VERSION} redis_version={REDIS_VERSION} malloc=mimalloc bits=64"
            );
            ExitCode::SUCCESS
        }
        Ok(Startup::Help) => {
            print!("{}", config::HELP);
            ExitCode::SUCCESS
        }
        Ok(Startup::CheckRdb(file)) if check_rdb::run(&file) => ExitCode::SUCCESS,
        Ok(Startup::CheckRdb(_)) => ExitCode::FAILURE,
        Ok(Startup::CheckSystem) => ExitCode::from(check_system::run() as u8),
        Ok(Startup::CheckLog { fix, path }) => check_log(&path, fix),
        Ok(Startup::ExportRdb { path, launch }) => export_rdb(*launch, &path),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check_log(path: &Path, fix: bool) -> ExitCode {
    let check_base = |path: &Path| check_rdb::check(path).map(drop);
    match check::check(path, fix, check_base, &mut io::stdout().lock()) {
        Ok(Verdict::Whole | Verdict::Fixed) => ExitCode::SUCCESS,
        Ok(Verdict::Damaged) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn export_rdb(mut launch: Launch, path: &Path) -> ExitCode {
    launch.config.shards = 1;
    log::configure(&launch.config);
    let exported = registry(&launch).and_then(|registry| {
        let node = node(&launch.config)?;
        export::run(&node, &registry, clock::calibrate(), path)
    });
    match exported {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut launch: Launch) -> ExitCode {
    let supervisor = process::supervise(launch.config.supervised);
    let background = launch.config.daemonize && supervisor == Supervisor::None;
    if background && let Err(error) = process::daemonize() {
        eprintln!("Cannot go to the background: {error}");
        return ExitCode::FAILURE;
    }
    log::configure(&launch.config);
    allocator::purge_only_when_asked();
    signals::block();
    match start(&mut launch, supervisor) {
        Ok(Some(server)) => server.wait(supervisor),
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            log::warning(format_args!("{why}"));
            ExitCode::FAILURE
        }
    }
}

/// A server whose shards run.
struct Server {
    node: Arc<Node>,
    shards: Vec<JoinHandle<bool>>,
    ports: Arc<Ports>,
    pidfile: Vec<u8>,
}

/// Starts a server. None: it was told to stop before its dataset was loaded.
fn start(launch: &mut Launch, supervisor: Supervisor) -> Result<Option<Server>, String> {
    let registry = registry(launch)?;
    let config = &mut launch.config;
    for warning in &launch.warnings {
        log::warning(format_args!("{warning}"));
    }
    if !launch.without_meaning.is_empty() {
        let names = launch.without_meaning.join(", ");
        log::notice(format_args!(
            "Accepted and kept, without meaning here: {names}"
        ));
    }
    if !launch.for_later.is_empty() {
        let names = launch.for_later.join(", ");
        log::notice(format_args!(
            "Accepted and kept, without effect yet: {names}"
        ));
    }
    let room = process::make_room_for_clients(config.maxclients, config.shards)?;
    for (level, message) in room.messages {
        log::write(level, format_args!("{message}"));
    }
    config.maxclients = room.maxclients;
    let _ = process::raise(Resource::Memlock, u64::MAX);
    let cores = cpus::affinity();
    let shards = config.shards as usize;
    if shards > cores.len() {
        log::warning(format_args!(
            "{shards} shards share {} cores: they will wait for each other. Use --shards {} or less.",
            cores.len(),
            cores.len()
        ));
    }
    log::set_role(log::Role::Master);
    let ports = Arc::new(Ports::open(config)?);
    let pidfile = pidfile(config);
    if !pidfile.is_empty() {
        process::write_pid_file(as_path(&pidfile));
    }
    let node = node(config)?;
    let placement = Placement::read(config);
    if placement.was_moved() {
        node.logs.slots_have_moved_before();
    }
    assert!(node.placement.set(placement).is_ok(), "said once");
    let listening = ports.clone();
    node.let_listen(move |config| listening.change(config));
    let mut loading = recovery::begin(&node, &registry, node.started_ms)?;
    let intakes = loading
        .as_mut()
        .map(|loading| std::mem::take(&mut loading.intakes));
    let shards = start_shards(
        &node,
        &registry,
        &ports,
        &cores,
        intakes.unwrap_or_default(),
    )?;
    signals::serve(node.clone());
    if let Some(loading) = loading {
        let loaded = loading.end(&node);
        if let Err(why) = &loaded
            && node.stopping.load(Ordering::Relaxed)
        {
            log::warning(format_args!("{why}"));
            return Ok(None);
        }
        if let Some(logs) = loaded? {
            logs.begin(&node)?;
        }
        node.saver.loading.end();
        node.wake_all();
        // Who reads that the server is ready is served by every shard.
        while !node.logs.are_taken_up() && !node.stopping.load(Ordering::Relaxed) {
            thread::sleep(LOOK_AGAIN);
        }
    }
    announce(&node, &ports, config);
    process::tell_supervisor(supervisor, true);
    Ok(Some(Server {
        node,
        shards,
        ports,
        pidfile,
    }))
}

/// The command table, with what `rename-command` has changed.
fn registry(launch: &Launch) -> Result<Arc<Registry>, String> {
    let mut registry = Registry::new(FAMILIES);
    for rename in &launch.renames {
        let (from, to) = (
            String::from_utf8_lossy(&rename.from),
            String::from_utf8_lossy(&rename.to),
        );
        registry
            .rename(&from, &to)
            .map_err(|why| rename.place.error(why).to_string())?;
    }
    Ok(Arc::new(registry))
}

fn pidfile(config: &Config) -> Vec<u8> {
    if config.pidfile.is_empty() && config.daemonize {
        return b"/var/run/redis.pid".to_vec();
    }
    config.pidfile.clone()
}

fn node(config: &Config) -> Result<Arc<Node>, String> {
    let mut seed = [0; 36];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut seed))
        .map_err(|e| format!("Cannot read /dev/urandom: {e}"))?;
    let word = |at: usize| u64::from_le_bytes(seed[at..at + 8].try_into().expect("eight bytes"));
    let run_id = seed[16..].iter().map(|b| format!("{b:02x}")).collect();
    let calls = (0..config.shards)
        .map(|_| socket::event())
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| format!("Cannot create an event descriptor: {e}"))?;
    let started_ms = clock::unix_us() / 1000;
    let seed = [word(0), word(8)];
    Ok(Arc::new(Node::new(
        config.clone(),
        seed,
        run_id,
        started_ms,
        calls,
        socket::signal_event,
    )))
}

fn start_shards(
    node: &Arc<Node>,
    registry: &Arc<Registry>,
    ports: &Arc<Ports>,
    cores: &[usize],
    intakes: Vec<Intake>,
) -> Result<Vec<JoinHandle<bool>>, String> {
    let rings: Arc<[AtomicI32]> = (0..node.shards).map(|_| AtomicI32::new(-1)).collect();
    let ticks = clock::calibrate();
    let (ready, stands) = channel();
    let mut threads = Vec::new();
    let mut intakes = intakes.into_iter();
    for (id, endpoint) in mesh(node.shards).into_iter().enumerate() {
        let wiring = Wiring {
            endpoint,
            rings: rings.clone(),
            ports: ports.clone(),
            calls: node.calls[id],
        };
        let seat = Seat {
            id: ShardId(id as u16),
            core: (!cores.is_empty()).then(|| cores[id % cores.len()]),
            node: node.clone(),
            registry: registry.clone(),
            ticks,
            intake: intakes.next(),
        };
        let ready = ready.clone();
        let thread = thread::Builder::new().name(format!("shard-{id}"));
        let thread = thread.spawn(move || seat.serve(wiring, &ready));
        threads.push(thread.map_err(|e| format!("Cannot start the thread of shard {id}: {e}"))?);
    }
    for _ in 0..node.shards {
        match stands.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ring_probe::explain(&error)),
            Err(_) => return Err("A shard ended while it started".into()),
        }
    }
    Ok(threads)
}

/// What a shard's thread starts with.
struct Seat {
    id: ShardId,
    core: Option<usize>,
    node: Arc<Node>,
    registry: Arc<Registry>,
    ticks: Ticks,
    /// What a snapshot has for it.
    intake: Option<Intake>,
}

impl Seat {
    /// Serves until the server stops. Whether that was in order.
    fn serve(self, wiring: Wiring, ready: &Sender<io::Result<()>>) -> bool {
        let id = self.id.0;
        let (supply, supplier) = keyspace::supply();
        // Without the thread, memory is touched when it is needed.
        let supplied = thread::Builder::new()
            .name(format!("memory-{}", self.id.0))
            .spawn(|| {
                background::give_way(background::Share::Least);
                supplier.run();
            });
        if let Some(id) = self.core {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        let supply = supplied.is_ok().then_some(supply);
        let shard = Shard::new(self.id, self.node, self.registry, self.ticks, supply);
        let mut engine = Engine::new(shard);
        match self.intake {
            Some(intake) => engine.load(intake),
            None => engine.take_up_log(),
        }
        let reactor = Reactor::new(engine, wiring);
        // Nobody listens any more when another shard could not start; then the process ends.
        match reactor {
            Ok(mut reactor) => {
                let _ = ready.send(Ok(()));
                let served = reactor.run();
                let saved = served.is_ok() && {
                    reactor.finish_log();
                    snapshot::save_at_end(reactor.shard())
                };
                if let Err(error) = &served {
                    log::warning(format_args!(
                        "Shard {id} lost its ring (io_uring_enter: {error}). The server stops."
                    ));
                }
                saved
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                false
            }
        }
    }
}

fn announce(node: &Node, ports: &Ports, config: &Config) {
    log::notice(format_args!(
        "Ringdove version={VERSION}, compatible with Redis {REDIS_VERSION}, bits=64, shards={}",
        node.shards
    ));
    log::notice(format_args!(" PID: {}", std::process::id()));
    log::notice(format_args!(
        "Running mode=standalone, port={}.",
        config.port
    ));
    for Port { listener, core, .. } in ports.current() {
        match (listener.address(), listener.path()) {
            (_, Some(path)) => {
                log::notice(format_args!(
                    "The server is now ready to accept connections at {path}"
                ));
            }
            (Some(address), None) => match core {
                Some(shard) => log::notice(format_args!("Shard {} listens on {address}", shard.0)),
                None => log::notice(format_args!("Listening on {address}")),
            },
            (None, None) => {}
        }
    }
    log::notice(format_args!("Ready to accept connections"));
}

impl Server {
    /// Waits for the end and cleans up.
    fn wait(self, supervisor: Supervisor) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for shard in self.shards {
            if !shard.join().unwrap_or(false) {
                code = ExitCode::FAILURE;
            }
        }
        if let Some(run) = self.node.saver.running()
            && !self.node.saver.wait(&run)
        {
            code = ExitCode::FAILURE;
        }
        if code == ExitCode::SUCCESS
            && let Err(why) = self.node.logs.seal()
        {
            log::warning(format_args!("The logs stay open in the manifest: {why}"));
        }
        let lacking = self.node.logs.lacking_bytes();
        if lacking > 0 {
            log::warning(format_args!(
                "The log could not be written: it lacks the last of what was done, {lacking} bytes"
            ));
        }
        // What could not be kept when slots had moved may be now.
        if let Some(placement) = self.node.placement.get()
            && let Err(why) = placement.write_at_end(&self.node.config())
        {
            log::warning(format_args!("Where the slots are was not kept: {why}"));
        }
        process::tell_supervisor(supervisor, false);
        self.ports.close();
        if !self.pidfile.is_empty() {
            log::notice(format_args!("Removing the pid file."));
            process::remove_pid_file(as_path(&self.pidfile));
        }
        log::warning(format_args!("Ringdove is now ready to exit, bye bye..."));
        drop(self.node);
        code
    }
}

//! From the command line and the configuration files to a [`Config`].
//!
//! `ringdove [file] [--directive value ...] [-]`: the file comes first, then standard input (`-`),
//! then the options, which are put together to lines of the same syntax; the last word counts. A line
//! that is wrong stops the start with Redis's `*** FATAL CONFIG FILE ERROR ***`, with the file, the
//! line number and the line.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;

use super::compound::{Given, as_path};
use super::shape::{MULTI, Meaning};
use super::{Config, DEFAULTS, find, reason, words};
use crate::stdx::glob;

/// How deep files may include files: enough for any sane tree, and an end for a file that includes
/// itself.
const INCLUDE_DEPTH_MAX: usize = 32;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: ringdove [/path/to/ringdove.conf] [options] [-]
       ringdove - (read config from stdin)
       ringdove -v or --version
       ringdove -h or --help
       ringdove --check-system
       ringdove --check-rdb FILE
       ringdove --export-rdb FILE [/path/to/ringdove.conf] [options] [-]
       ringdove --check-aof [--fix] /path/to/appendonlydir

Examples:
       ringdove (run the server with default conf)
       echo 'maxmemory 128mb' | ringdove -
       ringdove /etc/ringdove/7000.conf
       ringdove --port 7000 --shards 4
       ringdove /etc/ringdove/7000.conf --loglevel verbose -
       ringdove /etc/ringdove/7000.conf --loglevel verbose
";

/// What the command line asks for.
#[derive(Debug)]
pub enum Startup {
    /// Run the server.
    Run(Box<Launch>),
    /// Print the version.
    Version,
    /// Print [`HELP`].
    Help,
    /// Print what the host offers.
    CheckSystem,
    /// Read a snapshot and say what is in it.
    CheckRdb(PathBuf),
    /// Read the dataset and write it as a snapshot.
    ExportRdb {
        /// The snapshot's file; absolute.
        path: PathBuf,
        /// The configuration, which says where the dataset is.
        launch: Box<Launch>,
    },
    /// Look at the logs in a directory, and repair them if that is asked for.
    CheckLog {
        /// Whether to cut off what is damaged.
        fix: bool,
        /// The directory.
        path: PathBuf,
    },
}

/// The configuration to start with.
#[derive(Debug)]
pub struct Launch {
    /// The values.
    pub config: Config,
    /// `rename-command` lines in their order; the command table checks and applies them.
    pub renames: Vec<Rename>,
    /// `user` lines in their order, for the ACLs.
    pub users: Vec<User>,
    /// Directives that were given but speak of what does not exist here: the log says so once.
    pub without_meaning: Vec<&'static str>,
    /// Directives that were given, are kept, and will act only when their feature is there.
    pub for_later: Vec<&'static str>,
    /// Further warnings for the log.
    pub warnings: Vec<String>,
}

/// `rename-command from to`; an empty `to` removes the command.
#[derive(Debug)]
pub struct Rename {
    /// The command's name.
    pub from: Vec<u8>,
    /// Its new name.
    pub to: Vec<u8>,
    /// Where it was said.
    pub place: Place,
}

/// `user name rule ...`.
#[derive(Debug)]
pub struct User {
    /// Name and rules.
    pub words: Vec<Vec<u8>>,
    /// Where it was said.
    pub place: Place,
}

/// A line of a file, of standard input or of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    source: Rc<str>,
    line: usize,
    text: Vec<u8>,
}

impl Place {
    /// The error that stops the start at this line.
    pub fn error(&self, why: impl Into<String>) -> StartError {
        StartError {
            place: Some(self.clone()),
            why: why.into(),
            fatal_block: true,
        }
    }
}

/// Why the server does not start. Printed to standard error as it is.
#[derive(Debug, PartialEq, Eq)]
pub struct StartError {
    place: Option<Place>,
    why: String,
    /// Printed in Redis's block for errors of a configuration file.
    fatal_block: bool,
}

impl StartError {
    fn cannot_open(path: &Path, error: &std::io::Error) -> Self {
        let why = format!(
            "Fatal error, can't open config file '{}': {}",
            path.display(),
            reason(error)
        );
        StartError {
            place: None,
            why,
            fatal_block: false,
        }
    }

    /// What was asked for besides serving was not asked for like this.
    fn usage(line: &str) -> Self {
        StartError {
            place: None,
            why: line.into(),
            fatal_block: false,
        }
    }

    fn whole(why: impl Into<String>) -> Self {
        StartError {
            place: None,
            why: why.into(),
            fatal_block: true,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fatal_block {
            let version = env!("CARGO_PKG_VERSION");
            writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Ringdove {version}) ***")?;
        }
        if let Some(place) = &self.place {
            writeln!(
                f,
                "Reading the configuration file, at line {} of {}",
                place.line, place.source
            )?;
            writeln!(f, ">>> '{}'", String::from_utf8_lossy(&place.text))?;
        }
        write!(f, "{}", self.why)
    }
}

impl std::error::Error for StartError {}

fn check_rdb(args: &[&[u8]]) -> Result<Startup, StartError> {
    let [path] = *args else {
        return Err(StartError::usage("Usage: ringdove --check-rdb FILE"));
    };
    Ok(Startup::CheckRdb(as_path(path).to_owned()))
}

fn check_log(args: &[&[u8]]) -> Result<Startup, StartError> {
    let (fix, path) = match *args {
        [path] => (false, path),
        [b"--fix", path] => (true, path),
        _ => {
            let usage = "Usage: ringdove --check-aof [--fix] /path/to/appendonlydir";
            return Err(StartError::usage(usage));
        }
    };
    let path = as_path(path).to_owned();
    Ok(Startup::CheckLog { fix, path })
}

fn export_rdb(args: &[&[u8]]) -> Result<Startup, StartError> {
    let Some((path, rest)) = args
        .split_first()
        .filter(|(path, _)| !path.starts_with(b"--"))
    else {
        return Err(StartError::usage(
            "Usage: ringdove --export-rdb FILE [options]",
        ));
    };
    // Absolute before any `dir` moves.
    let path = std::path::absolute(as_path(path))
        .map_err(|error| StartError::cannot_open(as_path(path), &error))?;
    let launch = Box::new(launch(rest)?);
    Ok(Startup::ExportRdb { path, launch })
}

/// Reads the arguments (without the program's name) and the files that they name.
pub fn load(args: &[OsString]) -> Result<Startup, StartError> {
    let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    match args.first() {
        Some(&b"-v" | &b"--version") => return Ok(Startup::Version),
        Some(&b"-h" | &b"--help") => return Ok(Startup::Help),
        Some(&b"--check-system") => return Ok(Startup::CheckSystem),
        Some(&b"--check-rdb") => return check_rdb(&args[1..]),
        Some(&b"--check-aof") => return check_log(&args[1..]),
        Some(&b"--export-rdb") => return export_rdb(&args[1..]),
        _ => {}
    }
    launch(&args).map(|launch| Startup::Run(Box::new(launch)))
}

/// What a server would start with that is given these arguments.
fn launch(args: &[&[u8]]) -> Result<Launch, StartError> {
    let file = args.first().filter(|arg| !arg.starts_with(b"-")).copied();
    let rest = if file.is_some() { &args[1..] } else { args };
    let (from_stdin, options) = option_lines(rest);

    // Before any thread is pinned: what the defaults take from the host must not change later.
    LazyLock::force(&DEFAULTS);
    let mut loader = Loader::new();
    if let Some(file) = file {
        // Absolute before any `dir` moves: REWRITE must find it again.
        let path = std::path::absolute(as_path(file))
            .map_err(|e| StartError::cannot_open(as_path(file), &e))?;
        loader.file(&path, 0)?;
        loader.launch.config.config_file = Some(path);
    }
    if from_stdin {
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        read.map_err(|error| {
            StartError::whole(format!("Can't read standard input: {}", reason(&error)))
        })?;
        loader.text(&text, "standard input", 0)?;
    }
    loader.text(&options, "the command line's options", 0)?;
    loader.finish()
}

/// Turns options into lines: `--name` starts one, what follows are its values, quoted. A value may
/// start with `--` where the option has none yet; only `--save` may have none at all, which means
/// the empty one. A `-` at the end asks for standard input.
fn option_lines(args: &[&[u8]]) -> (bool, Vec<u8>) {
    let mut text = Vec::new();
    let mut from_stdin = false;
    let mut has_value = true;
    for (at, arg) in args.iter().enumerate() {
        let next = args.get(at + 1);
        if *arg == b"-" && next.is_none() {
            from_stdin = true;
        } else if let Some(name) = arg.strip_prefix(b"--").filter(|_| has_value) {
            if !text.is_empty() {
                text.push(b'\n');
            }
            text.extend(name);
            text.push(b' ');
            has_value = words::split(arg).is_none_or(|words| words.len() != 1);
            if arg.eq_ignore_ascii_case(b"--save")
                && next.is_none_or(|next| next.starts_with(b"--"))
            {
                text.extend(b"\"\"");
                has_value = true;
            }
        } else {
            words::quote(arg, &mut text);
            text.push(b' ');
            has_value = true;
        }
    }
    (from_stdin, text)
}

struct Loader {
    launch: Launch,
    /// Rows that a line has spoken of.
    seen: Vec<&'static str>,
}

impl Loader {
    fn new() -> Self {
        let launch = Launch {
            config: Config::default(),
            renames: Vec::new(),
            users: Vec::new(),
            without_meaning: Vec::new(),
            for_later: Vec::new(),
            warnings: Vec::new(),
        };
        Loader {
            launch,
            seen: Vec::new(),
        }
    }

    /// Reads a file, or all files that match a path with wildcards; none may match.
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), StartError> {
        if !glob::has_wildcards(path.as_os_str().as_bytes()) {
            let text =
                std::fs::read(path).map_err(|error| StartError::cannot_open(path, &error))?;
            return self.text(&text, &path.display().to_string(), depth);
        }
        for path in expand(path) {
            let text =
                std::fs::read(&path).map_err(|error| StartError::cannot_open(&path, &error))?;
            self.text(&text, &path.display().to_string(), depth)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8], source: &str, depth: usize) -> Result<(), StartError> {
        let source: Rc<str> = source.into();
        for (at, line) in text.split(|b| *b == b'\n').enumerate() {
            let line = words::trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = Place {
                source: source.clone(),
                line: at + 1,
                text: line.to_vec(),
            };
            let Some(words) = words::split(line) else {
                return Err(place.error("Unbalanced quotes in configuration line"));
            };
            self.line(words, &place, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, words: Vec<Vec<u8>>, place: &Place, depth: usize) -> Result<(), StartError> {
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        if find(name).is_some() {
            return self.directive(name, args, place);
        }
        match (name.to_ascii_lowercase().as_slice(), args) {
            (b"include", [path]) => self.include(path, place, depth),
            (b"rename-command", [from, to]) => {
                let (from, to) = (from.clone(), to.clone());
                self.launch.renames.push(Rename {
                    from,
                    to,
                    place: place.clone(),
                });
                Ok(())
            }
            (b"user", [_, ..]) => {
                self.launch.users.push(User {
                    words: args.to_vec(),
                    place: place.clone(),
                });
                Ok(())
            }
            (b"loadmodule", [_, ..]) => {
                Err(place.error("Ringdove does not load modules: remove this line"))
            }
            (b"sentinel", _) => Err(place.error("sentinel directive while not in sentinel mode")),
            // Directives that Redis once had and still passes over.
            (
                b"list-max-ziplist-entries" | b"list-max-ziplist-value" | b"lua-replicate-commands",
                [_],
            ) => Ok(()),
            (dotted, []) if dotted.contains(&b'.') => {
                Err(place.error("Module config specified without value"))
            }
            (dotted, _) if dotted.contains(&b'.') => Err(place.error(
                "Module configuration, but Ringdove does not load modules: remove this line",
            )),
            _ => Err(place.error("Bad directive or wrong number of arguments")),
        }
    }

    fn directive(
        &mut self,
        name: &[u8],
        args: &[Vec<u8>],
        place: &Place,
    ) -> Result<(), StartError> {
        let row = find(name).expect("looked up by the caller");
        let mut args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        // Several words may come in one pair of quotes, as they do from the command line.
        let inner = match args.as_slice() {
            [one] if row.has(MULTI) && !one.is_empty() => words::split(one),
            _ => None,
        };
        if let Some(inner) = &inner {
            args = inner.iter().map(Vec::as_slice).collect();
        }
        let given = if self.seen.contains(&row.name) {
            Given::Again
        } else {
            Given::First
        };
        row.put(&mut self.launch.config, &args, given)
            .map_err(|why| place.error(why))?;
        if given == Given::First {
            self.seen.push(row.name);
            match row.meaning {
                Meaning::Acts => {}
                Meaning::Later => self.launch.for_later.push(row.name),
                Meaning::Nothing => self.launch.without_meaning.push(row.name),
            }
        }
        Ok(())
    }

    fn include(&mut self, path: &[u8], place: &Place, depth: usize) -> Result<(), StartError> {
        if depth >= INCLUDE_DEPTH_MAX {
            return Err(place.error("Too many levels of include"));
        }
        // Relative to the working directory, which a `dir` above has moved.
        let path = self.launch.config.dir.0.join(as_path(path));
        self.file(&path, depth + 1)
    }

    /// What only the whole can be checked for.
    fn finish(mut self) -> Result<Launch, StartError> {
        let config = &mut self.launch.config;
        if !config.logfile.is_empty() {
            // Now, while there is still a terminal that can show the error.
            let path = config.dir.0.join(as_path(&config.logfile));
            let opened = std::fs::File::options()
                .append(true)
                .create(true)
                .open(path);
            opened.map_err(|error| {
                StartError::whole(format!("Can't open the log file: {}", reason(&error)))
            })?;
        }
        if config.cluster_enabled && config.replicaof.0.is_some() {
            return Err(StartError::whole(
                "replicaof directive not allowed in cluster mode",
            ));
        }
        if config.cluster_enabled && config.databases > 1 {
            let from = config.databases;
            let warning = format!(
                "WARNING: Changing databases number from {from} to 1 since we are in cluster mode"
            );
            self.launch.warnings.push(warning);
            config.databases = 1;
        }
        crate::shard::cores::core_ports(config).map_err(StartError::whole)?;
        config.settle();
        Ok(self.launch)
    }
}

/// The paths that match, in alphabetical order, as `glob(3)` gives them: each component is matched by
/// itself, hidden names only by a pattern that starts with a dot.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = component.as_os_str().as_bytes();
        if !glob::has_wildcards(part) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        // The shell writes `[!a]` where Redis writes `[^a]`.
        let part = part.iter().enumerate().map(|(at, b)| match b {
            b'!' if at > 0 && part[at - 1] == b'[' => b'^',
            other => *other,
        });
        let part: Vec<u8> = part.collect();
        found = found.iter().flat_map(|dir| matching(dir, &part)).collect();
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn matching(dir: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let shown = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let Ok(entries) = std::fs::read_dir(shown) else {
        return Vec::new();
    };
    let names = entries
        .filter_map(|entry| entry.ok())
        .map(|entry| entry.file_name().into_vec());
    let visible = names.filter(|name| pattern.starts_with(b".") || !name.starts_with(b"."));
    visible
        .filter(|name| glob::matches(pattern, name, false))
        .map(|name| dir.join(as_path(&name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Launch, String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        match load(&args) {
            Ok(Startup::Run(launch)) => Ok(*launch),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn lines(args: &[&[u8]]) -> String {
        String::from_utf8(option_lines(args).1).expect("text")
    }

    /// A folder of its own for a test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("ringdove-load-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("temp folder");
            Folder(path.canonicalize().expect("temp folder"))
        }

        fn file(&self, name: &str, text: &str) -> String {
            let path = self.0.join(name);
            std::fs::write(&path, text).expect("temp file");
            path.to_str().expect("utf-8").into()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn options_become_lines() {
        assert_eq!(
            lines(&[b"--port", b"7000", b"--shards", b"4"]),
            "port \"7000\" \nshards \"4\" "
        );
        assert_eq!(lines(&[b"--port 7000"]), "port 7000 ");
        assert_eq!(
            lines(&[b"--save", b"--port", b"1"]),
            "save \"\"\nport \"1\" "
        );
        assert_eq!(lines(&[b"--save"]), "save \"\"");
        assert_eq!(lines(&[b"--port", b"--save"]), "port \"--save\" ");
        assert_eq!(lines(&[b"-x"]), "\"-x\" ");
        assert!(option_lines(&[b"--port", b"1", b"-"]).0);
        assert!(!option_lines(&[b"-", b"--port", b"1"]).0);
    }

    #[test]
    fn special_options() {
        let load = |arg: &str| load(&[OsString::from(arg)]).expect("an option");
        assert!(matches!(load("-v"), Startup::Version));
        assert!(matches!(load("--version"), Startup::Version));
        assert!(matches!(load("-h"), Startup::Help));
        assert!(matches!(load("--help"), Startup::Help));
        assert!(matches!(load("--check-system"), Startup::CheckSystem));
        let rdb = ["--check-rdb", "x.rdb"].map(OsString::from);
        let rdb = super::load(&rdb).expect("an option");
        assert!(matches!(rdb, Startup::CheckRdb(file) if file == *"x.rdb"));
        let check = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            super::load(&args)
        };
        for (args, wanted) in [
            (&["--check-aof", "a b"][..], false),
            (&["--check-aof", "--fix", "a b"][..], true),
        ] {
            let Ok(Startup::CheckLog { fix, path }) = check(args) else {
                panic!("{args:?}");
            };
            assert_eq!((fix, path), (wanted, "a b".into()));
        }
        assert!(check(&["--check-aof"]).is_err());
        assert!(check(&["--check-aof", "--fix", "a", "b"]).is_err());
        for args in [&["--check-rdb"][..], &["--check-rdb", "a", "b"]] {
            let error = check(args).expect_err("it takes one file").to_string();
            assert_eq!(error, "Usage: ringdove --check-rdb FILE");
        }
    }

    #[test]
    fn values_from_options() {
        let launch = run(&[
            "--port",
            "7000",
            "--shards",
            "4",
            "--bind",
            "127.0.0.1 -::1",
            "--SAVE",
            "",
        ])
        .expect("good");
        assert_eq!((launch.config.port, launch.config.shards), (7000, 4));
        assert_eq!(launch.config.bind.print(), b"127.0.0.1 -::1");
        assert!(launch.config.save.0.is_empty());
        let launch = run(&[
            "--io-threads",
            "4",
            "--appendonly",
            "yes",
            "--tls-port",
            "1",
        ])
        .expect("good");
        assert_eq!(launch.without_meaning, ["io-threads"]);
        assert_eq!(launch.for_later, ["tls-port"]);
    }

    #[test]
    fn save_adds_up_in_a_file() {
        // Each pair was tried on redis-server 7.0.15.
        for (text, args, expected) in [
            ("", &[][..], "3600 1 300 100 60 10000"),
            ("save 900 1\n", &[], "900 1"),
            ("save 900 1\nsave 300 10\n", &[], "900 1 300 10"),
            ("save 900 1\nsave \"\"\n", &[], ""),
            ("save 900 1\nsave \"\"\nsave 5 6\n", &[], "5 6"),
            ("save 900 1\n", &["--save", ""], ""),
            (
                "save 900 1\n",
                &["--save", "300 10 20 30"],
                "900 1 300 10 20 30",
            ),
            ("save 900 1\n", &["--save", "300", "10"], "900 1 300 10"),
            ("", &["--save", " 3  4 "], "3 4"),
        ] {
            let folder = Folder::new("save");
            let file = folder.file("a.conf", text);
            let all = [&[file.as_str()], args].concat();
            let launch = run(&all).expect("good");
            assert_eq!(
                launch.config.save.print(),
                expected.as_bytes(),
                "{text} {args:?}"
            );
        }
    }

    #[test]
    fn files_errors_and_includes() {
        let folder = Folder::new("files");
        folder.file("b1.inc", "timeout 7\n");
        folder.file("b2.inc", "tcp-keepalive 9\nmaxclients abc\n");
        folder.file(
            "self.conf",
            &format!("include {}/self.conf\n", folder.0.display()),
        );
        let main = folder.file(
            "main.conf",
            &format!("# comment\n\ndir {0}\ninclude b1.*\ninclude none*.conf\nrename-command KEYS \"\"\n", folder.0.display()),
        );
        let launch = run(&[&main]).expect("good");
        assert_eq!(launch.config.timeout, 7);
        assert_eq!(launch.config.dir.0, folder.0);
        assert_eq!(launch.config.config_file.as_deref(), Some(Path::new(&main)));
        assert_eq!(
            (
                launch.renames[0].from.as_slice(),
                launch.renames[0].to.as_slice()
            ),
            (&b"KEYS"[..], &b""[..])
        );

        let bad = folder.file(
            "bad.conf",
            &format!("include {}/b[!1].inc\n", folder.0.display()),
        );
        assert_eq!(
            run(&[&bad]).expect_err("bad"),
            format!(
                "\n*** FATAL CONFIG FILE ERROR (Ringdove {}) ***\n\
                 Reading the configuration file, at line 2 of {}/b2.inc\n\
                 >>> 'maxclients abc'\n\
                 argument couldn't be parsed into an integer",
                env!("CARGO_PKG_VERSION"),
                folder.0.display()
            )
        );
        let endless = folder.0.join("self.conf");
        let error = run(&[endless.to_str().expect("utf-8")]).expect_err("endless");
        assert!(error.ends_with("Too many levels of include"), "{error}");
        let error = run(&["/nonexistent/x.conf"]).expect_err("no file");
        assert_eq!(
            error,
            "Fatal error, can't open config file '/nonexistent/x.conf': No such file or directory"
        );
    }

    #[test]
    fn malformed_lines() {
        // Line and reason, each as redis-server 7.0.15 says it.
        for (line, why) in [
            ("foo bar", "Bad directive or wrong number of arguments"),
            ("port", "wrong number of arguments"),
            ("port 1 2", "wrong number of arguments"),
            ("dir \"/tmp", "Unbalanced quotes in configuration line"),
            ("dir \"/tmp\"x", "Unbalanced quotes in configuration line"),
            ("dir /nonexistent", "No such file or directory"),
            (
                "rename-command GET",
                "Bad directive or wrong number of arguments",
            ),
            ("user", "Bad directive or wrong number of arguments"),
            ("foo.bar", "Module config specified without value"),
            ("save 1", "Invalid save parameters"),
            ("save \"\" 1", "Invalid save parameters"),
            (
                "client-output-buffer-limit normal 1 2",
                "Wrong number of arguments in buffer limit configuration.",
            ),
            ("replicaof a", "wrong number of arguments"),
            ("replicaof a 99999", "Invalid master port"),
            (
                "sentinel monitor a",
                "sentinel directive while not in sentinel mode",
            ),
            (
                "unixsocketperm 999",
                "argument couldn't be parsed as an octal number",
            ),
            (
                "unixsocketperm 7777",
                "argument must be between 0 and 777 inclusive",
            ),
            (
                "databases 0",
                "argument must be between 1 and 2147483647 inclusive",
            ),
            (
                "maxclients 0",
                "argument must be between 1 and 4294967295 inclusive",
            ),
            (
                "appendfilename a/b",
                "appendfilename can't be a path, just a filename",
            ),
            (
                "appenddirname a/b",
                "appenddirname can't be a path, just a dirname",
            ),
            ("appenddirname \"\"", "appenddirname can't be empty"),
            (
                "shutdown-on-sigint save nosave",
                "shutdown options SAVE and NOSAVE can't be used simultaneously",
            ),
            (
                "notify-keyspace-events Q",
                "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
            ),
            ("notify-keyspace-events", "wrong number of arguments"),
            (
                "latency-tracking-info-percentiles 50 101",
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
            ),
            ("oom-score-adj-values 1 2", "wrong number of arguments"),
            (
                "SUPERVISED foo",
                "argument(s) must be one of the following: upstart, systemd, auto, no",
            ),
        ] {
            let mut loader = Loader::new();
            let error = loader
                .text(format!("\n  {line} \r\n").as_bytes(), "x", 0)
                .expect_err(line);
            assert_eq!(
                error.place.as_ref().map(|p| (p.line, p.text.as_slice())),
                Some((2, line.as_bytes()))
            );
            assert_eq!(error.why, why, "{line}");
        }
        for line in [
            "save",
            "bind",
            "replicaof no one",
            "list-max-ziplist-value 5",
            "lua-replicate-commands yes",
        ] {
            Loader::new().text(line.as_bytes(), "x", 0).expect(line);
        }
        let error = run(&["--cluster-enabled", "yes", "--replicaof", "a 1"]).expect_err("both");
        assert!(
            error.ends_with("***\nreplicaof directive not allowed in cluster mode"),
            "{error}"
        );
        let error = run(&["--logfile", "/nonexistent/x"]).expect_err("no folder");
        assert!(
            error.ends_with("***\nCan't open the log file: No such file or directory"),
            "{error}"
        );
    }
}

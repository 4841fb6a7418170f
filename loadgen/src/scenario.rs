//! Ready-made workloads. A scenario is nothing but options: `ringdove-load scenarios` prints the
//! command line that each stands for, and options that follow `--scenario` replace its own.

/// One workload.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [&'static str],
}

/// What a YCSB record is on Redis: a hash of ten fields of 100 bytes.
const YCSB_LOAD: &str = "--preload-command=HSET __key__ field0 __data__ field1 __data__ field2 __data__ field3 __data__ \
    field4 __data__ field5 __data__ field6 __data__ field7 __data__ field8 __data__ field9 __data__";
const YCSB_INSERT: &str = "--command=HSET __key__ field0 __data__ field1 __data__ field2 __data__ field3 __data__ \
    field4 __data__ field5 __data__ field6 __data__ field7 __data__ field8 __data__ field9 __data__";
const YCSB_READ: &str = "--command=HGETALL __key__";
const YCSB_UPDATE: &str = "--command=HSET __key__ field__int:0-9__ __data__";

macro_rules! ycsb {
    ($($option:expr),* $(,)?) => {
        &[
            "--key-prefix=user", "--key-minimum=1", "--key-maximum=1000000", "--data-size=100",
            "--random-data", "--key-zipf-exp=0.99", $($option),*
        ]
    };
}

/// All of them.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cache",
        about: "read-mostly, Zipf, every value with a TTL",
        options: &[
            "--key-prefix=cache:",
            "--key-minimum=1",
            "--key-maximum=1000000",
            "--data-size-list=64:30,256:40,1024:25,4096:5",
            "--key-zipf-exp=0.99",
            "--command-order=random",
            "--preload-command=SET __key__ __data__ EX __int:600-3600__",
            "--command=GET __key__",
            "--command-ratio=95",
            "--command-key-pattern=X",
            "--command=SET __key__ __data__ EX __int:600-3600__",
            "--command-ratio=5",
            "--command-key-pattern=X",
        ],
    },
    Scenario {
        name: "session",
        about: "web sessions: read, touch, write, log out",
        options: &[
            "--key-prefix=session:",
            "--key-minimum=1",
            "--key-maximum=500000",
            "--data-size=512",
            "--random-data",
            "--command-order=random",
            "--preload-command=SETEX __key__ 1800 __data__",
            "--command=GET __key__",
            "--command-ratio=60",
            "--command-key-pattern=H",
            "--command=EXPIRE __key__ 1800",
            "--command-ratio=20",
            "--command-key-pattern=H",
            "--command=SETEX __key__ 1800 __data__",
            "--command-ratio=18",
            "--command-key-pattern=H",
            "--command=DEL __key__",
            "--command-ratio=2",
            "--command-key-pattern=R",
        ],
    },
    Scenario {
        name: "leaderboard",
        about: "two boards of a million members: ranks, raises, top tens",
        options: &[
            "--key-prefix=player:",
            "--key-minimum=1",
            "--key-maximum=1000000",
            "--key-zipf-exp=0.8",
            "--command-order=random",
            "--preload-command=ZADD board:1 __int:0-10000000__ __key__",
            "--preload-command=ZADD board:2 __int:0-10000000__ __key__",
            "--command=ZADD board:__int:1-2__ __int:0-10000000__ __key__",
            "--command-ratio=10",
            "--command-key-pattern=X",
            "--command=ZINCRBY board:__int:1-2__ __int:1-100__ __key__",
            "--command-ratio=30",
            "--command-key-pattern=X",
            "--command=ZREVRANK board:__int:1-2__ __key__",
            "--command-ratio=30",
            "--command-key-pattern=X",
            "--command=ZREVRANGE board:__int:1-2__ 0 9 WITHSCORES",
            "--command-ratio=30",
        ],
    },
    Scenario {
        name: "queue",
        about: "sixteen work queues, a producer for each consumer",
        options: &[
            "--data-size=256",
            "--random-data",
            "--command-order=random",
            "--command=LPUSH queue:__int:1-16__ __data__",
            "--command-ratio=48",
            "--command=RPOP queue:__int:1-16__",
            "--command-ratio=48",
            "--command=LLEN queue:__int:1-16__",
            "--command-ratio=4",
        ],
    },
    Scenario {
        name: "ratelimiter",
        about: "fixed windows of a minute: make the counter, count",
        options: &[
            "--key-prefix=rate:",
            "--key-minimum=1",
            "--key-maximum=1000000",
            "--key-zipf-exp=0.99",
            "--command=SET __key__ 0 EX 60 NX",
            "--command-key-pattern=X",
            "--command=INCR __last__",
        ],
    },
    Scenario {
        name: "streams",
        about: "eight capped streams: append, read back, consume in a group",
        options: &[
            "--data-size=128",
            "--random-data",
            "--command-order=random",
            "--setup-command=XGROUP CREATE stream:1 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:2 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:3 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:4 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:5 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:6 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:7 workers 0 MKSTREAM",
            "--setup-command=XGROUP CREATE stream:8 workers 0 MKSTREAM",
            "--command=XADD stream:__int:1-8__ MAXLEN ~ 100000 * at __ms__ data __data__",
            "--command-ratio=50",
            "--command=XREADGROUP GROUP workers c__client__ COUNT 10 NOACK STREAMS stream:__int:1-8__ >",
            "--command-ratio=30",
            "--command=XREVRANGE stream:__int:1-8__ + - COUNT 10",
            "--command-ratio=20",
        ],
    },
    Scenario {
        name: "ycsb-a",
        about: "YCSB A, update heavy: 50 % reads, 50 % updates, Zipf",
        options: ycsb![
            "--command-order=random",
            YCSB_LOAD,
            YCSB_READ,
            "--command-ratio=50",
            "--command-key-pattern=X",
            YCSB_UPDATE,
            "--command-ratio=50",
            "--command-key-pattern=X",
        ],
    },
    Scenario {
        name: "ycsb-b",
        about: "YCSB B, read mostly: 95 % reads, 5 % updates, Zipf",
        options: ycsb![
            "--command-order=random",
            YCSB_LOAD,
            YCSB_READ,
            "--command-ratio=95",
            "--command-key-pattern=X",
            YCSB_UPDATE,
            "--command-ratio=5",
            "--command-key-pattern=X",
        ],
    },
    Scenario {
        name: "ycsb-c",
        about: "YCSB C, read only, Zipf",
        options: ycsb![YCSB_LOAD, YCSB_READ, "--command-key-pattern=X"],
    },
    Scenario {
        name: "ycsb-d",
        about: "YCSB D, read latest: 95 % reads near the last insert, 5 % inserts",
        options: ycsb![
            "--command-order=random",
            YCSB_LOAD,
            YCSB_READ,
            "--command-ratio=95",
            "--command-key-pattern=L",
            YCSB_INSERT,
            "--command-ratio=5",
            "--command-key-pattern=I",
        ],
    },
    Scenario {
        name: "ycsb-e",
        about: "YCSB E, short ranges: 95 % scans of up to 100, 5 % inserts (record and index)",
        options: ycsb![
            YCSB_LOAD,
            "--preload-command=ZADD users __id__ __last__",
            "--command=ZRANGEBYSCORE users __id__ +inf LIMIT 0 __int:1-100__",
            "--command-ratio=19",
            "--command-key-pattern=X",
            YCSB_INSERT,
            "--command-key-pattern=I",
            "--command=ZADD users __lastid__ __last__",
        ],
    },
    Scenario {
        name: "ycsb-f",
        about: "YCSB F, read-modify-write: 50 % reads, 50 % reads followed by an update of the same record",
        options: ycsb![
            YCSB_LOAD,
            YCSB_READ,
            "--command-ratio=2",
            "--command-key-pattern=X",
            "--command=HSET __last__ field__int:0-9__ __data__",
        ],
    },
];

/// The scenario of a name; the error lists all names.
pub(crate) fn find(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|s| s.name == name).ok_or_else(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|s| s.name).collect();
        format!("--scenario {name}: there are {}", names.join(", "))
    })
}

/// The list with the command line of each, in a shell's words.
pub(crate) fn listing() -> String {
    let mut text = String::new();
    for scenario in SCENARIOS {
        text.push_str(&format!(
            "{}: {}\n    ringdove-load",
            scenario.name, scenario.about
        ));
        for option in scenario.options {
            let option = option.split_whitespace().collect::<Vec<_>>().join(" ");
            if option.contains([' ', '*', '<', '>']) {
                text.push_str(&format!(" \\\n        '{option}'"));
            } else {
                text.push_str(&format!(" \\\n        {option}"));
            }
        }
        text.push_str("\n\n");
    }
    text
}

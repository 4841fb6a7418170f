//! The types of directives whose value is one of a few words. The words and their order, which the
//! error texts list, are those of redis-server 7.0.15, with later ones at the end.

/// Defines an enumeration with its words; a variant may have several, of which the first is shown.
macro_rules! choice {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal $(| $also:literal)*),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$vdoc])* $variant),+ }

        impl $type {
            const WORDS: &'static [(&'static str, $type)] =
                &[$(($word, $type::$variant) $(, ($also, $type::$variant))*),+];

            /// The word that CONFIG GET shows.
            pub fn name(self) -> &'static str {
                let found = Self::WORDS.iter().find(|(_, value)| *value == self);
                found.expect("every variant has a word").0
            }

            /// The value of a word, whatever its case.
            pub fn from_name(word: &[u8]) -> Option<Self> {
                let found = Self::WORDS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
                found.map(|(_, value)| *value)
            }

            /// All words.
            pub fn names() -> impl Iterator<Item = &'static str> {
                Self::WORDS.iter().map(|(name, _)| *name)
            }
        }
    };
}

choice!(
    /// `loglevel`: what is logged at least.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Rarely useful things too.
        Verbose = "verbose",
        /// What production wants.
        Notice = "notice",
        /// Only what somebody must act on.
        Warning = "warning",
        /// No line at all.
        Nothing = "nothing",
    }
);
choice!(
    /// `supervised`: who is told that the server is ready.
    Supervised {
        /// upstart: the process stops itself with SIGSTOP.
        Upstart = "upstart",
        /// systemd: a datagram to NOTIFY_SOCKET.
        Systemd = "systemd",
        /// Whichever the environment names.
        Auto = "auto",
        /// Nobody.
        No = "no",
    }
);
choice!(
    /// `syslog-facility`.
    SyslogFacility {
        /// LOG_USER.
        User = "user",
        /// LOG_LOCAL0.
        Local0 = "local0",
        /// LOG_LOCAL1.
        Local1 = "local1",
        /// LOG_LOCAL2.
        Local2 = "local2",
        /// LOG_LOCAL3.
        Local3 = "local3",
        /// LOG_LOCAL4.
        Local4 = "local4",
        /// LOG_LOCAL5.
        Local5 = "local5",
        /// LOG_LOCAL6.
        Local6 = "local6",
        /// LOG_LOCAL7.
        Local7 = "local7",
    }
);
choice!(
    /// `enable-debug-command`, `enable-protected-configs`, `enable-module-command`: who may.
    Allowed {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this host.
        Local = "local",
    }
);
choice!(
    /// `maxmemory-policy`: what is evicted when memory is used up.
    MaxmemoryPolicy {
        /// Least recently used among keys with an expiry.
        VolatileLru = "volatile-lru",
        /// Least frequently used among keys with an expiry.
        VolatileLfu = "volatile-lfu",
        /// Any key with an expiry.
        VolatileRandom = "volatile-random",
        /// The key that expires next.
        VolatileTtl = "volatile-ttl",
        /// Least recently used.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// Nothing: writes are refused.
        Noeviction = "noeviction",
    }
);
choice!(
    /// `appendfsync`: when the log is made durable.
    Appendfsync {
        /// Once a second.
        Everysec = "everysec",
        /// Before the reply.
        Always = "always",
        /// When the kernel likes to.
        No = "no",
    }
);
choice!(
    /// `repl-diskless-load`.
    DisklessLoad {
        /// By way of a file.
        Disabled = "disabled",
        /// From the socket when there are no keys.
        OnEmptyDb = "on-empty-db",
        /// From the socket, keeping the old keys meanwhile.
        Swapdb = "swapdb",
        /// From the socket, after a flush.
        FlushBeforeLoad = "flush-before-load",
    }
);
choice!(
    /// `oom-score-adj`.
    OomScoreAdj {
        /// Left alone.
        No = "no",
        /// Relative to the score at the start.
        Relative = "yes" | "relative",
        /// As written.
        Absolute = "absolute",
    }
);
choice!(
    /// `acl-pubsub-default`: the channels of a new user.
    PubsubDefault {
        /// All of them.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }
);
choice!(
    /// `sanitize-dump-payload`: whose payloads are checked in depth.
    SanitizePayload {
        /// Nobody's.
        No = "no",
        /// Everybody's.
        Yes = "yes",
        /// Those of clients.
        Clients = "clients",
    }
);
choice!(
    /// `cluster-preferred-endpoint-type`.
    EndpointType {
        /// The address.
        Ip = "ip",
        /// The announced host name.
        Hostname = "hostname",
        /// Whatever the client used.
        UnknownEndpoint = "unknown-endpoint",
    }
);
choice!(
    /// `propagation-error-behavior`.
    PropagationError {
        /// Log it.
        Ignore = "ignore",
        /// Stop the server.
        Panic = "panic",
        /// Stop the server if it is a replica.
        PanicOnReplicas = "panic-on-replicas",
    }
);
choice!(
    /// `tls-auth-clients`.
    TlsAuthClients {
        /// No certificate is asked for.
        No = "no",
        /// A certificate is required.
        Yes = "yes",
        /// A certificate is checked where given.
        Optional = "optional",
    }
);
choice!(
    /// `tls-auth-clients-user`: the certificate's field that names the ACL user.
    TlsAuthUser {
        /// None.
        Off = "off",
        /// The common name.
        CommonName = "CN",
        /// A URI of the alternative names.
        Uri = "URI",
    }
);
choice!(
    /// `log-format`.
    LogFormat {
        /// Redis's own.
        Legacy = "legacy",
        /// Pairs of keys and values.
        Logfmt = "logfmt",
    }
);
choice!(
    /// `log-timestamp-format`.
    LogTimestamp {
        /// `21 Nov 2026 02:52:05.573`.
        Legacy = "legacy",
        /// `2026-11-21T02:52:05.573+00:00`.
        Iso8601 = "iso8601",
        /// Milliseconds since 1970.
        Milliseconds = "milliseconds",
    }
);
choice!(
    /// `rdb-version-check`.
    RdbVersionCheck {
        /// A dump of a newer version is refused.
        Strict = "strict",
        /// It is read as far as it is understood.
        Relaxed = "relaxed",
    }
);
choice!(
    /// `cluster-config-save-behavior`.
    ClusterConfigSave {
        /// Failing to save it stops the server.
        Sync = "sync",
        /// It is saved when it can be.
        BestEffort = "best-effort",
    }
);

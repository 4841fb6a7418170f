//! The values of options: numbers with units, ranges, lists, addresses. Each reads its text or says
//! what it wanted instead.

use crate::config::{
    Arrivals, CommandOrder, CommandSpec, Config, Objective, Pattern, Protocol, Requests,
    ServerOptions,
};

pub(super) fn last(config: &mut Config) -> Result<&mut CommandSpec, String> {
    config
        .commands
        .last_mut()
        .ok_or("stands before any --command".to_string())
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text} is not a whole number"))
}

pub(super) fn small(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text} is not a whole number"))
}

pub(super) fn in_range(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let value = number(text)?;
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{min} to {max}"))
    }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(format!("{text} is not a number of 0 or more")),
    }
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let value = positive(text.strip_suffix('s').unwrap_or(text))?;
    if value <= 1e8 {
        Ok(value)
    } else {
        Err("too long".to_string())
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match positive(digits)? * factor {
        value if value > 0.0 && value <= 1e9 => Ok(value),
        _ => Err("a rate is above 0 and at most 1000M".to_string()),
    }
}

pub(super) fn pair(text: &str, separator: char) -> Result<(u64, u64), String> {
    let bad = || format!("{text} is not two numbers with {separator} between them");
    let (a, b) = text.split_once(separator).ok_or_else(bad)?;
    Ok((a.parse().map_err(|_| bad())?, b.parse().map_err(|_| bad())?))
}

pub(super) fn range(text: &str) -> Result<(u64, u64), String> {
    let (min, max) = pair(text, '-')?;
    if min <= max {
        Ok((min, max))
    } else {
        Err(format!("{text}: the first is above the second"))
    }
}

pub(super) fn one_of(text: &str, no: &str, yes: &str) -> Result<bool, String> {
    if text == yes {
        Ok(true)
    } else if text == no {
        Ok(false)
    } else {
        Err(format!("{no} or {yes}"))
    }
}

pub(super) fn host(server: &mut ServerOptions, text: &str) -> Result<(), String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    if bare.is_empty() {
        return Err("an empty address".to_string());
    }
    server.host = bare.to_string();
    Ok(())
}

pub(super) fn protocol(config: &mut Config, text: &str) -> Result<(), String> {
    config.server.protocol = match text {
        "redis" => Protocol::Plain,
        "resp2" => Protocol::Resp2,
        "resp3" => Protocol::Resp3,
        "memcache_text" | "memcache_binary" => {
            return Err(format!(
                "{text} is memtier's, but does not exist here: only Redis is spoken"
            ));
        }
        _ => return Err("redis, resp2 or resp3".to_string()),
    };
    Ok(())
}

pub(super) fn authenticate(config: &mut Config, text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some((user, password)) => {
            config.server.user = (!user.is_empty()).then(|| user.to_string());
            config.server.password = Some(password.to_string());
        }
        None => config.server.password = Some(text.to_string()),
    }
    Ok(())
}

/// Sets the server from `redis://...`, `rediss://...`, `unix:PATH`, `host:port` or `host`.
pub(crate) fn set_server(server: &mut ServerOptions, text: &str) -> Result<(), String> {
    if let Some(path) = text.strip_prefix("unix:") {
        server.unix_socket = Some(path.strip_prefix("//").unwrap_or(path).to_string());
        return Ok(());
    }
    let mut rest = text;
    if let Some(bare) = text.strip_prefix("redis://") {
        rest = bare;
    } else if let Some(bare) = text.strip_prefix("rediss://") {
        rest = bare;
        server.tls = true;
    } else if text.contains("://") {
        return Err(format!("{text}: redis:// or rediss://"));
    }
    if let Some((credentials, address)) = rest.rsplit_once('@') {
        rest = address;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        server.user = (!user.is_empty()).then(|| user.to_string());
        server.password = Some(password.to_string());
    }
    if let Some((address, db)) = rest.split_once('/') {
        rest = address;
        if !db.is_empty() {
            server.select_db = small(db)?;
        }
    }
    let bracket_end = rest.rfind(']').map_or(0, |at| at + 1);
    match rest[bracket_end..].rfind(':') {
        Some(at) => {
            server.port = in_range(&rest[bracket_end + at + 1..], 1, 65535)? as u16;
            host(server, &rest[..bracket_end + at])
        }
        None => host(server, rest),
    }
}

pub(super) fn tls_protocols(config: &mut Config, text: &str) -> Result<(), String> {
    let mut versions = (false, false);
    for name in text.split(',') {
        match name.trim() {
            "TLSv1.2" => versions.0 = true,
            "TLSv1.3" => versions.1 = true,
            other => return Err(format!("{other}: TLSv1.2 and TLSv1.3 exist here")),
        }
    }
    config.server.tls_files.versions = Some(versions);
    Ok(())
}

pub(super) fn requests(config: &mut Config, text: &str) -> Result<(), String> {
    config.requests = Some(match text {
        "allkeys" => Requests::AllKeys,
        _ => Requests::Count(in_range(text, 1, u64::MAX)?),
    });
    Ok(())
}

pub(super) fn arrivals(config: &mut Config, text: &str) -> Result<(), String> {
    let poisson = one_of(text, "constant", "poisson")?;
    config.arrivals = if poisson {
        Arrivals::Poisson
    } else {
        Arrivals::Constant
    };
    Ok(())
}

pub(super) fn command_order(config: &mut Config, text: &str) -> Result<(), String> {
    let random = one_of(text, "sequence", "random")?;
    config.command_order = if random {
        CommandOrder::Random
    } else {
        CommandOrder::Sequence
    };
    Ok(())
}

pub(super) fn breakdown(config: &mut Config, text: &str) -> Result<(), String> {
    config.breakdown_by_line = one_of(text, "command", "line")?;
    Ok(())
}

pub(super) fn objective(text: &str) -> Result<Objective, String> {
    let bad = || format!("{text}: wanted something like p99.9<1ms");
    let (percentile, limit) = text.split_once('<').ok_or_else(bad)?;
    let percentile = percentile.trim().strip_prefix('p').ok_or_else(bad)?;
    let percentile: f64 = percentile.parse().map_err(|_| bad())?;
    let limit = limit.trim().trim_start_matches('=');
    let at = limit
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(bad)?;
    let unit = match &limit[at..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err(bad()),
    };
    let limit: f64 = limit[..at].trim().parse().map_err(|_| bad())?;
    let fits = percentile > 0.0 && percentile <= 100.0 && limit > 0.0 && limit * unit < 1e15;
    if !fits {
        return Err(bad());
    }
    Ok(Objective {
        percentile,
        limit_ns: (limit * unit) as u64,
    })
}

pub(super) fn size_list(config: &mut Config, text: &str) -> Result<(), String> {
    let list: Vec<(u64, u64)> = text
        .split(',')
        .map(|part| pair(part, ':'))
        .collect::<Result<_, _>>()?;
    if list
        .iter()
        .any(|(_, weight)| *weight == 0 || *weight > 1 << 32)
    {
        return Err("weights are 1 to 4294967296".to_string());
    }
    config.data_size_list = Some(list);
    Ok(())
}

pub(super) fn key_pattern(config: &mut Config, text: &str) -> Result<(), String> {
    let (set, get) = text
        .split_once(':')
        .ok_or("two letters with a colon between them")?;
    config.key_pattern = (Pattern::of_letter(set)?, Pattern::of_letter(get)?);
    Ok(())
}

pub(super) fn zipf_exponent(config: &mut Config, text: &str) -> Result<(), String> {
    let value = positive(text)?;
    if value <= 0.0 || value >= 5.0 {
        return Err("between 0 and 5".to_string());
    }
    config.key_zipf_exponent = value;
    Ok(())
}

pub(super) fn percentiles(config: &mut Config, text: &str) -> Result<(), String> {
    let list: Vec<f64> = text.split(',').map(positive).collect::<Result<_, _>>()?;
    if list.iter().any(|p| *p > 100.0) {
        return Err("percentiles are at most 100".to_string());
    }
    config.print_percentiles = list;
    Ok(())
}

pub(super) fn cpus(config: &mut Config, text: &str) -> Result<(), String> {
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = if part.contains('-') {
            range(part)?
        } else {
            (number(part)?, number(part)?)
        };
        if last > 4095 {
            return Err("CPU numbers are below 4096".to_string());
        }
        list.extend((first..=last).map(|cpu| cpu as usize));
    }
    config.cpus = list;
    Ok(())
}

pub(super) fn unix_nanos() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| since.as_nanos() as u64)
}

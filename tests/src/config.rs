//! The files that an operator would write: configurations, the group's file,
//! the DNS hook.

use crate::{wait, webhook};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The group that everything here protects.
pub const GROUP: &str = "fx";
/// Its exclusive trading service.
pub const SERVICE: &str = "bridge";
/// The site that is active first.
pub const PRIMARY: &str = "primary";
/// The other site.
pub const STANDBY: &str = "standby";

/// What differs from one cluster to the next.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lease T of the group.
    pub lease: &'static str,
    /// Whether a loss leads to a failover by itself.
    pub automatic: bool,
    /// How long a failover is not followed by another automatic one.
    pub cool_down: &'static str,
    /// How long the DNS hook takes: makes its phase long enough to be hit.
    pub hook_takes: Duration,
    /// How long after its start the service sends its first tick, for the
    /// phase in which the standby is verified.
    pub first_tick_after: Duration,
    /// The trading service runs in containers of these names, on both hosts,
    /// instead of as processes.
    pub containers: Option<[String; 2]>,
    /// Everything is to outlive us.
    pub keep: bool,
    /// More lines of the group file's `[group]`.
    pub policy: &'static str,
    /// The proof that an automatic failover needs.
    pub needs: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: "1s",
            automatic: true,
            cool_down: "1s",
            hook_takes: Duration::ZERO,
            first_tick_after: Duration::ZERO,
            containers: None,
            keep: false,
            policy: "",
            needs: 1,
        }
    }
}

/// coordinator.toml of one of the three.
#[must_use]
pub fn coordinator(
    name: &str,
    witness: bool,
    folder: &Path,
    ports: [u16; 2],
    webhook: u16,
    hook: &Path,
) -> String {
    let [listen, enrol] = ports;
    let state = folder.join(name).join("state");
    if witness {
        return format!(
            "name = \"{name}\"\nrole = \"witness\"\nstate_dir = \"{}\"\n\
             listen = \"127.0.0.1:{listen}\"\nadvertise = \"127.0.0.1:{listen}\"\n",
            state.display()
        );
    }
    format!(
        r#"name = "{name}"
role = "coordinator"
state_dir = "{state}"
listen = "127.0.0.1:{listen}"
advertise = "127.0.0.1:{listen}"
enrol_listen = "127.0.0.1:{enrol}"
enrol_advertise = "127.0.0.1:{enrol}"

[dns_hook]
command = ["{hook}", "{name}"]
timeout = "10s"
attempts = 3

[[fence]]
name = "power"
level = 4
command = ["{fence}", "{name}"]
deadline = "10s"

[[notify]]
name = "log"
kind = "log"
path = "{log}"

[[notify]]
name = "hook"
kind = "webhook"
url = "http://127.0.0.1:{webhook}/notify"
secret_file = "{secret}"
"#,
        state = state.display(),
        hook = hook.display(),
        fence = hook.with_file_name("fence-hook").display(),
        log = folder.join(name).join("notifications.log").display(),
        secret = folder.join("webhook-secret").display(),
    )
}

/// agent.toml of a host whose publisher listens on `port`.
#[must_use]
pub fn agent(
    name: &str,
    site: usize,
    folder: &Path,
    publisher: &Path,
    port: u16,
    options: &Options,
) -> String {
    let own = folder.join(name);
    let driver = match &options.containers {
        Some(names) => {
            let container = names.get(site).map_or("", String::as_str);
            format!("driver = \"docker\"\ncontainer = \"{container}\"")
        }
        None => {
            let arguments = publisher_arguments(site, &own.join("ticks"), port, options);
            let words: Vec<String> = std::iter::once(publisher.display().to_string())
                .chain(arguments)
                .map(|word| format!("\"{word}\""))
                .collect();
            format!("driver = \"process\"\ncommand = [{}]", words.join(", "))
        }
    };
    format!(
        r#"host = "{name}"
state_dir = "{state}"

# Every host here is this one machine, whose kernel has one table for all.
[gate]
enabled = false

[[service]]
name = "{SERVICE}"
group = "{GROUP}"
exclusive = true
{driver}

[[probe]]
name = "ticks"
kind = "zeromq"
group = "{GROUP}"
endpoint = "tcp://127.0.0.1:{port}"
topics = ["tick."]
every = "200ms"
stale_after = "2s"

[[probe]]
name = "root-disk"
kind = "disk"
path = "/"
# A full disk of the machine that tests is not what is tested.
warn_free_percent = 0
critical_free_percent = 0
"#,
        state = own.join("state").display(),
    )
}

/// The publisher's arguments on one site.
#[must_use]
pub fn publisher_arguments(
    site: usize,
    journal: &Path,
    port: u16,
    options: &Options,
) -> Vec<String> {
    let site = if site == 0 { PRIMARY } else { STANDBY };
    let mut arguments: Vec<String> =
        ["--port", &port.to_string(), "--symbol", "EURUSD", "--site", site]
            .map(str::to_owned)
            .to_vec();
    arguments.extend(["--journal".into(), journal.display().to_string()]);
    if !options.first_tick_after.is_zero() {
        arguments.push("--first-tick-after-ms".into());
        arguments.push(options.first_tick_after.as_millis().to_string());
    }
    arguments
}

/// The group's file.
#[must_use]
pub fn group(options: &Options) -> String {
    let mut text = format!(
        r#"[group]
name = "{GROUP}"
lease = "{lease}"
# These hosts have no kernel gate yet (it needs root), so the strongest proof
# that a silent host is harmless is that its lease has lapsed: level 1. On real
# hosts leave this at its default of 2.
automatic_failover_needs = {needs}
primary = "{PRIMARY}"
automatic = {automatic}
cool_down = "{cool_down}"
{policy}
"#,
        lease = options.lease,
        automatic = options.automatic,
        cool_down = options.cool_down,
        needs = options.needs,
        policy = options.policy,
    );
    for (site, host, address) in [(PRIMARY, "p1", "192.0.2.10"), (STANDBY, "s1", "192.0.2.20")] {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[site]]\nname = \"{site}\"\nhosts = [\"{host}\"]\naddresses = [\"{address}\"]\n"
        );
    }
    let _ = write!(
        text,
        "\n[[service]]\nname = \"{SERVICE}\"\nexclusive = true\nstart_timeout = \"20s\"\n\
         \n[[feed]]\nprobe = \"ticks\"\n"
    );
    text
}

/// The DNS hook: a shell script that writes each of its calls to a file.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The script.
    pub script: PathBuf,
    calls: PathBuf,
}

impl Hook {
    /// Writes the script into `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(folder: &Path, takes: Duration) -> Result<Self> {
        let hook = Self { script: folder.join("dns-hook"), calls: folder.join("dns-calls") };
        write_fence_hook(folder)?;
        // One printf a call: a line is appended whole, or not at all.
        let text = format!(
            "#!/bin/sh\n\
             # Called by the coordinator named $1; a real one would call a DNS provider.\n\
             input=$(cat)\n\
             # Its caller died before it could say what is wanted: do nothing.\n\
             [ -n \"$input\" ] || exit 1\n\
             printf '{{\"by\":\"%s\",\"hook\":\"%s\",\"to\":\"%s\",\"addresses\":\"%s\",\
             \"attempt\":%s,\"dry_run\":%s,\"input\":%s}}\\n' \
             \"$1\" \"$UNDERSTUDY_HOOK\" \"$UNDERSTUDY_TO\" \"$UNDERSTUDY_ADDRESSES\" \
             \"$UNDERSTUDY_ATTEMPT\" \"$UNDERSTUDY_DRY_RUN\" \"$input\" >> '{calls}'\n\
             exec sleep {seconds}\n",
            calls = hook.calls.display(),
            seconds = takes.as_secs_f64(),
        );
        fs::write(&hook.script, text)?;
        fs::set_permissions(&hook.script, fs::Permissions::from_mode(0o755))?;
        Ok(hook)
    }

    /// The calls that were meant (no dry runs), in order.
    ///
    /// # Errors
    /// When the file cannot be read or a line is not JSON.
    pub fn calls(&self) -> Result<Vec<Value>> {
        let calls = webhook::read_lines(&self.calls)?;
        Ok(calls.into_iter().filter(|call| call["dry_run"] == 0).collect())
    }

    /// Waits for the first call that names `site` as the new one.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn called_for(&self, site: &str, limit: Duration) -> Result<Value> {
        wait::until(&format!("the DNS hook's call for {site}"), limit, || {
            let calls = self.calls()?;
            let found = calls.into_iter().find(|call| call["to"] == site);
            found.with_context(|| format!("no call for {site}"))
        })
    }
}

/// The fence hook beside the DNS hook: it writes each call to `fence-calls`, and
/// says what stands in `fence-verdict`, which is "failed" without such a file.
fn write_fence_hook(folder: &Path) -> Result<()> {
    let script = folder.join("fence-hook");
    let text = format!(
        "#!/bin/sh\n\
         # Called by the coordinator named $1; a real one would call a provider.\n\
         input=$(cat)\n\
         [ -n \"$input\" ] || exit 1\n\
         printf '{{\"by\":\"%s\",\"input\":%s}}\\n' \"$1\" \"$input\" >> '{folder}/fence-calls'\n\
         verdict=$(cat '{folder}/fence-verdict' 2>/dev/null || echo failed)\n\
         printf '{{\"verdict\":\"%s\",\"host\":\"%s\",\"epoch\":%s,\"detail\":\"a test\"}}' \
         \"$verdict\" \"$UNDERSTUDY_HOST\" \"$UNDERSTUDY_EPOCH\"\n",
        folder = folder.display(),
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Checks that both ways in which a hook is told say the same.
///
/// # Errors
/// When the environment and standard input differ.
pub fn same_on_both_ways(call: &Value) -> Result<()> {
    let input = &call["input"];
    ensure!(input["version"] == 1 && input["hook"] == call["hook"], "{call}");
    ensure!(input["to"] == call["to"] && input["attempt"] == call["attempt"], "{call}");
    let addresses: Vec<&str> =
        input["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(addresses.join(",") == call["addresses"], "{call}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    #[test]
    fn the_hook_writes_down_what_it_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let hook = Hook::write(folder.path(), Duration::ZERO).unwrap();
        let mut child = Command::new(&hook.script)
            .arg("c1")
            .env("UNDERSTUDY_HOOK", "dns")
            .env("UNDERSTUDY_TO", STANDBY)
            .env("UNDERSTUDY_ADDRESSES", "192.0.2.20")
            .env("UNDERSTUDY_ATTEMPT", "1")
            .env("UNDERSTUDY_DRY_RUN", "0")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input =
            r#"{"version":1,"hook":"dns","to":"standby","addresses":["192.0.2.20"],"attempt":1}"#;
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let call = hook.called_for(STANDBY, Duration::ZERO).unwrap();
        assert_eq!(call["by"], "c1");
        same_on_both_ways(&call).unwrap();
    }
}

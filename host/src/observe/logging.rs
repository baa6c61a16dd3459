//! Log output: level, format, and a writer that never stalls the hub.
//!
//! A log line is formatted on the task that logs and handed to a thread that scrubs and writes it. When the sink is
//! slow and the queue is full, lines are given up and counted; work never waits for a log.

use std::{
    fmt,
    io::{self, Write},
    panic::PanicHookInfo,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
};

use super::{metrics, redact::Redactor};
use crate::clock::SharedClock;

/// Lines that may wait for the sink.
const QUEUED_LINES: usize = 8192;

/// The longest line written; of a longer one the beginning.
const LONGEST_LINE: usize = 16 * 1024;

/// Level and format, as `SWITCHYARD_LOG` says them: `info`, `debug,json`, `info,switchyard::queue=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    filter: String,
    json: bool,
}

/// The log setting cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{directive}` is not understood; write a level and a format such as `info,json` or `debug,human`")]
pub struct MalformedLogSettings {
    directive: String,
}

impl FromStr for LogSettings {
    type Err = MalformedLogSettings;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut json = false;
        let mut directives = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "json" => json = true,
                "human" => json = false,
                directive => {
                    // A bare word that is no level would be taken for a module's name and silence the rest.
                    let bare = !directive.contains(['=', ':', '[']);
                    if EnvFilter::try_new(directive).is_err() || (bare && !is_level(directive)) {
                        return Err(MalformedLogSettings { directive: directive.to_owned() });
                    }
                    directives.push(directive);
                }
            }
        }
        let filter = if directives.is_empty() { "info".to_owned() } else { directives.join(",") };
        Ok(Self { filter, json })
    }
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| word.eq_ignore_ascii_case(level))
}

impl<'de> Deserialize<'de> for LogSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Sends this process's logs to stderr until the process ends, panics included.
///
/// Keep the [`LogGuard`] until the end: dropping it writes what still waits. When logging was already started, as in
/// tests, the first one stays.
pub fn start(settings: &LogSettings, redactor: Arc<Redactor>, clock: SharedClock) -> io::Result<LogGuard> {
    let (subscriber, guard) = subscriber(settings, redactor, clock, Box::new(io::stderr()))?;
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(guard)
}

/// A subscriber that writes to `sink`, from a thread of its own.
///
/// # Errors
///
/// The thread cannot be started.
pub fn subscriber(
    settings: &LogSettings,
    redactor: Arc<Redactor>,
    clock: SharedClock,
    sink: Box<dyn Write + Send>,
) -> io::Result<(Box<dyn Subscriber + Send + Sync>, LogGuard)> {
    let (queue, waiting) = sync_channel(QUEUED_LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = LineWriter { redactor, sink, lost: Arc::clone(&lost), json: settings.json };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&waiting))?;
    let lines = Lines { queue: queue.clone(), lost };
    let filter = EnvFilter::new(&settings.filter);
    let plain =
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(Stamp(clock)).with_ansi(false).with_writer(lines);
    let subscriber: Box<dyn Subscriber + Send + Sync> =
        if settings.json { Box::new(plain.json().flatten_event(true).finish()) } else { Box::new(plain.finish()) };
    Ok((subscriber, LogGuard { queue }))
}

/// Stamps lines with the hub's clock.
struct Stamp(SharedClock);

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", self.0.now())
    }
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Writes the lines that wait when it is dropped, for at most two seconds.
pub struct LogGuard {
    queue: SyncSender<Message>,
}

impl LogGuard {
    /// Waits until every line logged before is written; for at most two seconds, and not at all when the sink is so
    /// slow that the queue is full.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(2));
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Makes one buffer per line and queues it.
struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.text));
        if let Err(TrySendError::Full(_)) = self.lines.queue.try_send(line) {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
            metrics::log_line_dropped();
        }
    }
}

/// The thread's end: scrubs and writes.
struct LineWriter {
    redactor: Arc<Redactor>,
    sink: Box<dyn Write + Send>,
    lost: Arc<AtomicU64>,
    json: bool,
}

impl LineWriter {
    fn run(mut self, waiting: &Receiver<Message>) {
        while let Ok(message) = waiting.recv() {
            match message {
                Message::Line(line) => {
                    let lost = self.lost.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        self.write(&self.notice(lost));
                    }
                    self.write(&self.clean(&line));
                }
                Message::Flush(done) => {
                    let _ = self.sink.flush();
                    let _ = done.try_send(());
                }
            }
        }
    }

    /// A sink that fails has nobody to be told about it.
    fn write(&mut self, line: &str) {
        let _ = self.sink.write_all(line.as_bytes()).and_then(|()| self.sink.write_all(b"\n"));
    }

    fn notice(&self, lost: u64) -> String {
        let message = format!("{lost} log lines were dropped because the log is read too slowly");
        if self.json { serde_json::json!({"level": "WARN", "message": message}).to_string() } else { message }
    }

    /// One line without secrets, without control characters, and not too long.
    fn clean(&self, line: &[u8]) -> String {
        let text = String::from_utf8_lossy(line);
        let text = self.redactor.scrub(text.trim_end_matches('\n'));
        let mut clean = String::with_capacity(text.len());
        for character in text.chars() {
            if character.is_control() {
                clean.extend(character.escape_default());
            } else {
                clean.push(character);
            }
        }
        if clean.len() <= LONGEST_LINE {
            return clean;
        }
        let whole = clean.len();
        clean.truncate(clean.floor_char_boundary(LONGEST_LINE / 2));
        if self.json {
            return serde_json::json!({"level": "WARN", "message": "a log line was cut", "bytes": whole, "line": clean})
                .to_string();
        }
        format!("{clean}... ({whole} bytes)")
    }
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let reason = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(panic.reason = reason, panic.place = place, %backtrace, "a task panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: &str, redactor: Redactor, log: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let clock = ManualClock::starting_at(Timestamp(1_800_000_000_000));
        let (subscriber, guard) =
            subscriber(&settings.parse().unwrap(), Arc::new(redactor), clock, Box::new(sink.clone())).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        guard.flush();
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn no_planted_marker_reaches_the_log() {
        for format in ["trace,human", "trace,json"] {
            let redactor = Redactor::default();
            assert!(redactor.register(b"MARKER-registered"));
            let lines = logged(format, redactor, || {
                let span = tracing::info_span!("call", key = "swk_MARKER1");
                let _entered = span.enter();
                tracing::info!("sent whsec_MARKER2 to https://u:MARKER3@a.example/x?sig=MARKER4");
                tracing::warn!(error = ?Some("Bearer MARKER5-abc"), url = "amqp://hub:MARKER6@mq/", "failed");
                tracing::error!(header = %"Basic TUFSS0VSNw==", value = "MARKER-registered", "a secret by value");
                tracing::debug!(hex = hex::encode("MARKER-registered"), "by another encoding");
            });
            assert_eq!(lines.len(), 4);
            for line in &lines {
                assert!(!line.contains("MARKER") && !line.contains("TUFSS0VSNw"), "{line}");
                assert!(!line.contains(&hex::encode("MARKER-registered")), "{line}");
                assert!(line.contains("***"), "{line}");
                if format.ends_with("json") {
                    serde_json::from_str::<serde_json::Value>(line).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_line_cannot_be_forged_by_control_characters() {
        for format in ["info,human", "info,json"] {
            let lines = logged(format, Redactor::default(), || {
                tracing::info!(name = "x\n2027-01-15T08:00:00Z ERROR forged\u{1b}[2J", "seen\r\nforged");
            });
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(!lines[0].contains('\u{1b}'));
            assert!(lines[0].contains("2027-01-15T08:00:00.000Z"), "stamped by the hub's clock: {}", lines[0]);
        }
    }

    #[test]
    fn an_endless_line_is_cut_and_stays_valid() {
        let lines = logged("info,json", Redactor::default(), || tracing::info!("{}", "ø".repeat(100_000)));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(lines[0].len() < 2 * LONGEST_LINE);
        assert_eq!(line["message"], "a log line was cut");
    }

    struct Stalled(mpsc::Receiver<()>, Sink);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Blocks until the test lets go by dropping its end.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_sink_costs_lines_but_never_time() {
        let (release, stalled) = mpsc::channel();
        let sink = Sink::default();
        let clock = ManualClock::starting_at(Timestamp(0));
        let settings = "info".parse().unwrap();
        let (subscriber, guard) =
            subscriber(&settings, Arc::default(), clock, Box::new(Stalled(stalled, sink.clone()))).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..QUEUED_LINES + 100 {
                tracing::info!(number, "line");
            }
        });
        drop(release);
        // The queue may be full for a moment still; a flush gets in once the thread has taken a line.
        while !String::from_utf8(sink.0.lock().unwrap().clone()).unwrap().contains("log lines were dropped") {
            guard.flush();
        }
        assert!(metrics::render().contains("switchyard_log_lines_dropped_total"));
    }

    #[test]
    fn level_and_format_are_read_in_any_order() {
        let json: LogSettings = "json,debug,switchyard::queue=trace".parse().unwrap();
        assert_eq!(json, LogSettings { filter: "debug,switchyard::queue=trace".into(), json: true });
        assert_eq!("".parse(), Ok(LogSettings { filter: "info".into(), json: false }));
        assert!("jsn".parse::<LogSettings>().is_err());
        assert!("x=nolevel".parse::<LogSettings>().is_err());
    }
}

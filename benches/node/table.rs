//! The printed table, and helpers for its figures.
use std::fmt;
use std::time::Duration;

/// The measurements, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measurement {
    Idle,
    Read,
    First,
    Change,
    Memory,
    Connections,
    Nftables,
}

impl Measurement {
    pub const ALL: [Measurement; 7] = [
        Measurement::Idle,
        Measurement::Read,
        Measurement::First,
        Measurement::Change,
        Measurement::Memory,
        Measurement::Connections,
        Measurement::Nftables,
    ];

    /// The measurement with this name on the command line.
    pub fn named(word: &str) -> Option<Self> {
        Measurement::ALL.into_iter().find(|measurement| format!("{measurement:?}").eq_ignore_ascii_case(word))
    }
}

/// Rows of figures with a column for each node.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<(Measurement, String, Vec<String>)>,
}

impl Table {
    pub fn new(columns: Vec<String>) -> Self {
        Table { columns, rows: Vec::new() }
    }

    /// Begins the rows of a measurement, with its limit. The following rows belong to it.
    pub fn heading(&mut self, measurement: Measurement, title: &str, target: &str) {
        let nothing = vec![String::new(); self.columns.len()];
        self.rows.push((measurement, format!("**{title}**: {target}"), nothing));
    }

    pub fn row(&mut self, title: &str, figures: impl IntoIterator<Item = String>) {
        let measurement = self.rows.last().expect("a heading").0;
        self.rows.push((measurement, title.into(), figures.into_iter().collect()));
    }

    /// Times in milliseconds.
    pub fn times(&mut self, title: &str, times: &[Duration]) {
        self.row(&format!("{title}, ms"), times.iter().map(|time| milliseconds(*time)));
    }

    /// The ratios of the times of two rows.
    pub fn ratios(&mut self, ours: &[Duration], bare: &[Duration]) {
        let ratio =
            |(ours, bare): (&Duration, &Duration)| format!("**{:.2}**", ours.as_secs_f64() / bare.as_secs_f64());
        self.row("ratio", ours.iter().zip(bare).map(ratio));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} |", self.columns.join(" | "))?;
        writeln!(f, "| --- |{}", " ---: |".repeat(self.columns.len()))?;
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(measurement, ..)| *measurement);
        for (_, title, figures) in rows {
            writeln!(f, "| {title} | {} |", figures.join(" | "))?;
        }
        Ok(())
    }
}

/// Rounded to three significant digits.
pub fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        0.0..10.0 => format!("{ms:.2}"),
        10.0..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// The median.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

//! The table that is printed, and what its figures are made of.
use std::fmt;
use std::time::Duration;

/// Rows of figures, a column for each node.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    pub fn new(columns: Vec<String>) -> Self {
        Table { columns, rows: Vec::new() }
    }

    /// Begins the rows of one question, with what is to be reached.
    pub fn heading(&mut self, title: &str, target: &str) {
        eprintln!("{title} ...");
        self.rows.push((format!("**{title}**: {target}"), vec![String::new(); self.columns.len()]));
    }

    pub fn row(&mut self, title: &str, figures: impl IntoIterator<Item = String>) {
        self.rows.push((title.into(), figures.into_iter().collect()));
    }

    /// Times in milliseconds.
    pub fn times(&mut self, title: &str, times: &[Duration]) {
        self.row(&format!("{title}, ms"), times.iter().map(|time| milliseconds(*time)));
    }

    /// The ratios of one row's times to another's.
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
        for (title, figures) in &self.rows {
            writeln!(f, "| {title} | {} |", figures.join(" | "))?;
        }
        Ok(())
    }
}

/// Three digits that count.
pub fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        0.0..10.0 => format!("{ms:.2}"),
        10.0..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

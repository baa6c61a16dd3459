//! Reading a file row by row, whatever wrote it.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    path::Path,
    rc::Rc,
};

use encoding_rs::Encoding;
use sha2::{Digest as _, Sha256};

use super::map::{Map, MapFault};

/// The largest row. A quote that is never closed would make one of all the rest of the file.
const LARGEST_ROW: u64 = 1 << 20;

/// How far into a file its header is looked for.
const LONGEST_HEADER: usize = 64 << 10;

/// Why a file cannot be read as a table.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// The file itself cannot be read.
    #[error("it cannot be read: {0}")]
    File(#[from] io::Error),
    /// There is not even a header.
    #[error("it is empty; its first line must name the columns")]
    Empty,
    /// Two columns have one name.
    #[error("two columns are named `{0}`; give each a name of its own")]
    Twice(String),
    /// A row is too large.
    #[error("row {row} is larger than 1 MiB; a quote is probably opened and never closed")]
    TooLarge {
        /// The row.
        row: u64,
    },
    /// What the format does not allow.
    #[error("row {row}: {reason}")]
    Malformed {
        /// The row.
        row: u64,
        /// What is wrong.
        reason: String,
    },
    /// The encoding cannot be used.
    #[error(transparent)]
    Map(#[from] MapFault),
}

/// Lets through a bounded number of bytes for each row.
struct Bounded<R> {
    inner: R,
    /// Bytes since the row began.
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken.get() > LARGEST_ROW {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a row is too large"));
        }
        let read = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

/// A file with columns.
pub(super) struct Source {
    reader: csv::Reader<Bounded<File>>,
    encoding: &'static Encoding,
    taken: Rc<Cell<u64>>,
    /// The names of the columns.
    pub(super) header: csv::StringRecord,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The number of the row that comes next; the header is row 1, as in a spreadsheet.
    next_row: u64,
}

/// A row, or why it has no cells to look at.
pub(super) struct Row {
    /// Its number; the header is row 1.
    pub(super) number: u64,
    /// Its cells, or what is wrong with it alone.
    pub(super) cells: Result<csv::StringRecord, String>,
}

impl Source {
    /// Opens a file; without a map the usual encoding and the header's own delimiter are taken.
    ///
    /// # Errors
    /// See [`SourceFault`].
    pub(super) fn open(path: &Path, map: Option<&Map>) -> Result<Self, SourceFault> {
        let name = map.map_or("utf-8", |map| map.encoding.as_str());
        let encoding = Encoding::for_label(name.as_bytes()).filter(|encoding| encoding.is_ascii_compatible());
        let encoding = encoding.ok_or_else(|| MapFault::NoEncoding(name.to_owned()))?;
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let delimiter = match map.and_then(|map| map.delimiter) {
            Some(delimiter) => u8::try_from(delimiter).map_err(|_| MapFault::Delimiter(delimiter))?,
            None => delimiter(&first_line(&mut file)?),
        };
        let taken = Rc::new(Cell::new(0));
        let bounded = Bounded { inner: File::open(path)?, taken: Rc::clone(&taken) };
        let reader =
            csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bounded);
        let empty = csv::StringRecord::new();
        let mut source = Self { reader, encoding, taken, header: empty, size, next_row: 1 };
        let header = source.next()?.ok_or(SourceFault::Empty)?;
        let names = header.cells.map_err(|reason| SourceFault::Malformed { row: 1, reason })?;
        source.header = names.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
        let twice = source
            .header
            .iter()
            .enumerate()
            .find(|(at, name)| !name.is_empty() && source.header.iter().take(*at).any(|earlier| earlier == *name));
        match twice {
            Some((_, name)) => Err(SourceFault::Twice(name.to_owned())),
            None => Ok(source),
        }
    }

    /// The next row that has anything in it.
    ///
    /// # Errors
    /// The file cannot be read any further.
    pub(super) fn next(&mut self) -> Result<Option<Row>, SourceFault> {
        let mut record = csv::ByteRecord::new();
        loop {
            self.taken.set(0);
            let row = self.next_row;
            let read = self.reader.read_byte_record(&mut record).map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(reason) if reason.kind() == io::ErrorKind::FileTooLarge => {
                    SourceFault::TooLarge { row }
                }
                csv::ErrorKind::Io(reason) => SourceFault::File(reason),
                kind => SourceFault::Malformed { row, reason: format!("it cannot be read: {kind:?}") },
            })?;
            if !read {
                return Ok(None);
            }
            self.next_row += 1;
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            return Ok(Some(Row { number: row, cells: self.decoded(&record) }));
        }
    }

    fn decoded(&self, record: &csv::ByteRecord) -> Result<csv::StringRecord, String> {
        let columns = self.header.len();
        if columns > 0 && record.len() != columns {
            return Err(format!("it has {} cells and the header {columns}", record.len()));
        }
        let mut cells = csv::StringRecord::new();
        for cell in record {
            let (text, broken) = self.encoding.decode_without_bom_handling(cell);
            if broken {
                let name = self.encoding.name();
                return Err(format!("its text is not {name}; set `encoding` in the map, perhaps to windows-1252"));
            }
            cells.push_field(&text);
        }
        Ok(cells)
    }

    /// How many of the file's bytes have been looked at, roughly.
    pub(super) fn position(&self) -> u64 {
        self.reader.position().byte()
    }
}

fn first_line(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; LONGEST_HEADER];
    let mut filled = 0;
    while filled < start.len() {
        match file.read(&mut start[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    start.truncate(filled);
    let end = start.iter().position(|byte| *byte == b'\n').unwrap_or(start.len());
    start.truncate(end);
    Ok(start)
}

/// What stands between the columns' names most often; a comma if nothing does.
fn delimiter(header: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in header {
        quoted ^= *byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| delimiter == byte).filter(|_| !quoted) {
            *count += 1;
        }
    }
    // The first of several that stand equally often.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| *delimiter)
}

/// A digest of a file's bytes.
pub(super) fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hash, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(bytes: &[u8], map: Option<&Map>) -> Result<Source, SourceFault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, bytes).unwrap();
        Source::open(&path, map)
    }

    #[test]
    fn a_spreadsheets_own_habits_are_understood() {
        let mut source = opened("\u{feff}Navn;Tlf\r\n\"Ada; Lund\";20\r\n;\r\nBo;\r\n".as_bytes(), None).unwrap();
        assert_eq!(source.header, vec!["Navn", "Tlf"]);
        let first = source.next().unwrap().unwrap();
        assert_eq!((first.number, first.cells.unwrap()), (2, csv::StringRecord::from(vec!["Ada; Lund", "20"])));
        assert_eq!(source.next().unwrap().unwrap().number, 4, "an empty row is no row, and counts");
        assert!(source.next().unwrap().is_none());
    }

    #[test]
    fn text_in_an_older_encoding_is_read_once_the_map_names_it() {
        let bytes = b"Navn,By\nS\xf8ren,\xc5rhus\n";
        let said = opened(bytes, None).unwrap().next().unwrap().unwrap().cells.unwrap_err();
        assert!(said.contains("windows-1252"), "{said}");
        let map = Map::parse("type = 'a.b'\nencoding = 'windows-1252'\n[fields]\nname = 'Navn'").unwrap();
        let row = opened(bytes, Some(&map)).unwrap().next().unwrap().unwrap();
        assert_eq!(row.cells.unwrap(), vec!["Søren", "Århus"]);
    }

    #[test]
    fn an_open_quote_ends_the_reading_and_not_the_memory() {
        let mut bytes = b"a,b\n1,\"never closed\n".to_vec();
        bytes.resize(4 << 20, b'x');
        let mut source = opened(&bytes, None).unwrap();
        let said = source.next().err().unwrap().to_string();
        assert!(said.contains("row 2") && said.contains("quote"), "{said}");
    }

    #[test]
    fn a_header_must_be_there_and_name_each_column_once() {
        assert!(matches!(opened(b"", None), Err(SourceFault::Empty)));
        assert!(matches!(opened(b"a,b,a\n", None), Err(SourceFault::Twice(name)) if name == "a"));
        let mut source = opened(b"a,b\n1\n", None).unwrap();
        assert!(source.next().unwrap().unwrap().cells.unwrap_err().contains("1 cells and the header 2"));
    }
}

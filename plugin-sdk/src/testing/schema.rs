use crate::dispatch::{derived_config_schema, describe};
use crate::plugin::Plugin;

/// Holds the text of [`Plugin::CONFIG_SCHEMA`] equal to what the config's types say. With `SWITCHYARD_WRITE_SCHEMA=1` in
/// the environment it writes `file`, which the next build takes in.
///
/// # Panics
/// They differ, or the file cannot be written.
pub fn config_schema_is_derived<P: Plugin>(file: &str) {
    let derived = derived_config_schema::<P>();
    if std::env::var_os("SWITCHYARD_WRITE_SCHEMA").is_some() {
        let written = std::fs::write(file, format!("{derived:#}\n"));
        assert!(written.is_ok(), "{file} cannot be written: {written:?}");
        return;
    }
    let described = describe::<P>().config_schema;
    assert_eq!(described, Some(derived), "run the test with SWITCHYARD_WRITE_SCHEMA=1, then again");
}

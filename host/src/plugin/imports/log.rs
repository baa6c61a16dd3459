//! `log`: lines for the trace page. The process log never sees them.

use wasmtime::Result;

use crate::plugin::{
    bindings::imports::log::{Field, Host, Level},
    convert,
    state::State,
};

impl Host for State {
    fn emit(&mut self, level: Level, message: String, fields: Vec<Field>) -> Result<()> {
        let line = convert::log_line(level, message, fields);
        if self.admits_line(&line) {
            self.host.log(line);
        }
        Ok(())
    }
}

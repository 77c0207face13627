//! Fetching one file of a data set over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::manifest::DataFile;
use crate::store::check;

/// A folder on the network.
pub(crate) struct Mirror<'a> {
    base: &'a str,
    agent: ureq::Agent,
    /// Nobody answers there; asking for another file would only wait once more.
    dead: bool,
}

impl<'a> Mirror<'a> {
    pub fn new(base: &'a str) -> Self {
        let mut config = ureq::Agent::config_builder()
            .user_agent(concat!("cl-data/", env!("CARGO_PKG_VERSION")))
            // The digests are of the files as they are stored.
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(30)));
        if base.starts_with("http://127.0.0.1") {
            // A proxy's loopback is not ours.
            config = config.proxy(None);
        }
        Self { base, agent: config.build().new_agent(), dead: false }
    }

    /// The content of `file`, checked, or a line that says why not; `None` if nobody answered before.
    pub fn get(&mut self, file: &DataFile) -> Option<Result<Vec<u8>, String>> {
        if self.dead {
            return None;
        }
        let url = format!("{}{}", self.base, file.name);
        Some(self.ask(&url, file).map_err(|why| format!("{url}: {why}")))
    }

    fn ask(&mut self, url: &str, file: &DataFile) -> Result<Vec<u8>, String> {
        let response = match self.agent.get(url).call() {
            Ok(response) => response,
            Err(error) => {
                self.dead = !matches!(error, ureq::Error::StatusCode(_));
                return Err(error.to_string());
            }
        };
        // One byte more than expected is enough to know, whatever the other side goes on sending.
        let mut content = Vec::new();
        let read = response.into_body().into_reader().take(file.bytes + 1).read_to_end(&mut content);
        match read {
            Ok(_) => check(&content, file).map(|()| content),
            Err(error) => Err(format!("broke off after {} of {} bytes: {error}", content.len(), file.bytes)),
        }
    }
}

/// Writes a file of the cache, at once or not at all: whoever looks meanwhile sees none or the whole.
pub(crate) fn store(content: &[u8], path: &Path) -> Result<(), String> {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| format!("{}: could not be written: {error}", path.display()))
}

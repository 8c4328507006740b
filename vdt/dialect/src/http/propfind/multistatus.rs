//! A multistatus body (RFC 4918 13), written entry by entry.

use std::fmt::Write;

use chrono::DateTime;
use futures::TryStreamExt;
use object_store::{Error, ObjectMeta};
use quick_xml::escape::escape;

use super::super::ROOT;
use super::{Entries, Entry};
use crate::answer::{EntityTag, content_type, http_date};
use crate::key::encode;

/// A body under construction. What is written may be taken at any time; the rest goes on behind it.
pub(super) struct MultiStatus {
    xml: String,
}

impl MultiStatus {
    pub(super) fn new() -> Self {
        Self {
            xml: "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n"
                .to_owned(),
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::File(meta) => self.file(meta),
            Entry::Folder(name) => self.folder(name),
        }
    }

    /// Writes entries until all are written, which is the answer, or `max` bytes.
    pub(super) async fn fill(&mut self, entries: &mut Entries, max: usize) -> Result<bool, Error> {
        while self.xml.len() < max {
            match entries.try_next().await? {
                Some(entry) => self.entry(&entry),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// A folder, whose name ends with a slash.
    pub(super) fn folder(&mut self, name: &str) {
        // object_store's client insists on a date of every entry, and a folder has none.
        let modified = http_date(DateTime::UNIX_EPOCH);
        self.response(
            name,
            &format!(
                "<D:resourcetype><D:collection/></D:resourcetype><D:getlastmodified>{modified}</D:getlastmodified>"
            ),
        );
    }

    pub(super) fn file(&mut self, meta: &ObjectMeta) {
        let tag = meta.e_tag.as_deref().and_then(EntityTag::of_store);
        let tag = tag.map(|tag| {
            let tag = tag.to_string();
            format!("<D:getetag>{}</D:getetag>", escape(tag.as_str()))
        });
        let properties = format!(
            "<D:resourcetype/><D:getcontentlength>{}</D:getcontentlength><D:getlastmodified>{}</D:getlastmodified>{}<D:getcontenttype>{}</D:getcontenttype>",
            meta.size,
            http_date(meta.last_modified),
            tag.unwrap_or_default(),
            content_type(&meta.location),
        );
        self.response(meta.location.as_ref(), &properties);
    }

    fn response(&mut self, name: &str, properties: &str) {
        // The href is percent-encoded and so needs no escaping. Writing to a String does not fail.
        let _ = writeln!(
            self.xml,
            "<D:response><D:href>{ROOT}/{}</D:href><D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>",
            encode(name),
        );
    }

    /// What is written so far.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.xml)
    }

    pub(super) fn finish(self) -> String {
        self.xml + "</D:multistatus>\n"
    }
}

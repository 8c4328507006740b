//! A VirtualTable as it is read: what its spec and status say, also where this version cannot read all of it.

use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};
use vdt_crds::{TlsMode, VirtualTable, VirtualTableStatus};

/// One table of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// The whole object.
    pub(crate) object: Value,
    /// The same, where this version can read it.
    pub(crate) typed: Option<VirtualTable>,
    /// Its status.
    pub(crate) status: VirtualTableStatus,
}

impl Table {
    /// Reads an object.
    pub(crate) fn of(object: &DynamicObject) -> Self {
        let value = json!(object);
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            typed: serde_json::from_value(value.clone()).ok(),
            status: serde_json::from_value(value["status"].clone()).unwrap_or_default(),
            object: value,
        }
    }

    /// `<catalog>/<schema>/<table>`, once it can be told.
    pub(crate) fn path(&self) -> Option<String> {
        self.typed.as_ref().map(VirtualTable::table_path)
    }

    /// Pods that are wanted.
    pub(crate) fn replicas(&self) -> u64 {
        // The definition's default.
        self.object["spec"]["server"]["replicas"]
            .as_u64()
            .unwrap_or(1)
    }

    /// Generation of the spec.
    pub(crate) fn generation(&self) -> i64 {
        self.object["metadata"]["generation"]
            .as_i64()
            .unwrap_or_default()
    }

    /// Whether its front door speaks TLS.
    pub(crate) fn tls(&self) -> bool {
        let server = self
            .typed
            .as_ref()
            .and_then(|table| table.spec.server.as_ref());
        server.is_some_and(|server| server.tls.mode != TlsMode::Disabled)
    }
}

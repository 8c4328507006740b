//! placeholder
use crate::spec::VirtualTable;
/// e
#[derive(Debug)]
pub struct ParseError;
/// p
pub fn parse(_: &[u8]) -> Result<Vec<VirtualTable>, ParseError> {
    Err(ParseError)
}

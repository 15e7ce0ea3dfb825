//! YAML with line numbers: documents of a stream, and faults one can find.

use serde::de::DeserializeOwned;

/// One document of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The line of its first content, from 1.
    pub line: usize,
    /// Its text behind as many empty lines as stand before it in the stream,
    /// so that a parser counts lines as the reader of the file does.
    pub text: String,
}

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, in one line.
    pub message: String,
}

/// The documents of a stream that are more than comments.
#[must_use]
pub fn documents(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut current = Document { line: 0, text: String::new() };
    for (index, line) in text.lines().enumerate() {
        let is_end =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if is_end {
            let next = Document { line: 0, text: "\n".repeat(index + 1) };
            documents.push(std::mem::replace(&mut current, next));
            continue;
        }
        let content = line.trim_start();
        if current.line == 0 && !content.is_empty() && !content.starts_with('#') {
            current.line = index + 1;
        }
        current.text.push_str(line);
        current.text.push('\n');
    }
    documents.push(current);
    documents.retain(|document| document.line > 0);
    documents
}

/// Reads one document.
///
/// # Errors
/// The first fault and its line.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
        let plain = error.without_snippet().to_string();
        let message = plain.lines().next().unwrap_or_default().trim().to_owned();
        Fault { line: line.unwrap_or(1), message }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_line_numbers() {
        let read = documents("# top\na: 1\n---\n\nb: 2\n--- \n# nothing\n---x: 3\n");
        let lines: Vec<usize> = read.iter().map(|document| document.line).collect();
        assert_eq!(lines, [2, 5, 8], "`---x` is content");
        assert_eq!(read[1].text.lines().nth(4), Some("b: 2"));
    }

    #[test]
    fn faults_carry_the_line() {
        let fault = from_str::<serde_json::Value>("a: 1\nb: [\n").expect_err("the list has no end");
        assert!(fault.line >= 2, "{fault:?}");
        assert!(!fault.message.is_empty());
    }
}

//! Fenced blocks of the documents that are data: their language names what they hold.

/// The lines of the fenced block of `language` in `page`, each with its number, without comments
/// (behind ` -- `) and empty lines. `None` unless there is exactly one such block.
pub fn block<'a>(page: &'a str, language: &str) -> Option<Vec<(usize, &'a str)>> {
    let opening = format!("```{language}");
    let begins = |line: &str| line.trim_end() == opening;
    if page.lines().filter(|line| begins(line)).count() != 1 {
        return None;
    }
    let numbered = page.lines().enumerate().map(|(index, line)| (index + 1, line));
    let inside = numbered.skip_while(|(_, line)| !begins(line)).skip(1);
    let inside = inside.take_while(|(_, line)| !line.starts_with("```"));
    let said = inside.map(|(number, line)| (number, line.split(" -- ").next().unwrap_or("")));
    Some(said.map(|(number, line)| (number, line.trim())).filter(|(_, l)| !l.is_empty()).collect())
}

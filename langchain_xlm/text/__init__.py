"""Pure text: languages, detection, sentences and pieces. No torch."""

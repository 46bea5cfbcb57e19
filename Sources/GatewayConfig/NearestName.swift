/// Finds the name that was probably meant.
enum NearestName {
    /// The candidate with the fewest edits, if they are few for its length; the first one where several tie.
    static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
        let word = Array(word.unicodeScalars.prefix(wordLengthMax))
        var best: (name: String, edits: Int)?
        for candidate in candidates {
            let edits = distance(word, Array(candidate.unicodeScalars.prefix(wordLengthMax)))
            let allowed = Swift.max(1, Swift.min(word.count, candidate.unicodeScalars.count) / 3)
            if edits <= allowed, edits < best?.edits ?? .max { best = (candidate, edits) }
        }
        return best?.name
    }

    /// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
    static func distance<Element: Equatable>(_ left: [Element], _ right: [Element]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for (row, a) in left.enumerated() {
            var current = [row + 1]
            for (column, b) in right.enumerated() {
                var edits = Swift.min(last[column] + (a == b ? 0 : 1), last[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, a == right[column - 1], left[row - 1] == b {
                    edits = Swift.min(edits, beforeLast[column - 1] + 1)
                }
                current.append(edits)
            }
            (beforeLast, last) = (last, current)
        }
        return last[right.count]
    }

    private static let wordLengthMax = 64
}

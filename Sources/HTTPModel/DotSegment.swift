/// What a segment says about the way up and down, if anything.
enum DotSegment: Equatable {
    /// `.`
    case current
    /// `..`
    case parent
    /// Dots that some server takes for one of these: beside a path parameter (`..;x`, also as `%3B`), a NUL, or an
    /// encoded separator (`..%2F`, `%5C.`).
    case disguised

    /// Looks at the segment from `start` to the end of `output`, which is decoded as far as it will be.
    init?(_ output: borrowing FixedBytes, from start: Int) {
        let end = output.count
        var pieceStart = start
        while true {
            // A piece ends at the segment's end or at an encoded separator; its name ends at a parameter or a NUL.
            var index = pieceStart
            while index < end, output[index] == Byte.dot { index += 1 }
            let dots = index - pieceStart
            let isWhole = pieceStart == start && index == end
            if dots == 1 || dots == 2 {
                if isWhole {
                    self = dots == 1 ? .current : .parent
                    return
                }
                if index == end || Self.endsName(output, at: index) {
                    self = .disguised
                    return
                }
            }
            while index < end, !Self.isSeparator(output, at: index) { index += 1 }
            guard index < end else { return nil }
            pieceStart = index + 3
        }
    }

    private static func endsName(_ output: borrowing FixedBytes, at index: Int) -> Bool {
        output[index] == Byte.semicolon || isEscape(output, at: index, "3B") || isEscape(output, at: index, "00")
            || isSeparator(output, at: index)
    }

    private static func isSeparator(_ output: borrowing FixedBytes, at index: Int) -> Bool {
        isEscape(output, at: index, "2F") || isEscape(output, at: index, "5C")
    }

    private static func isEscape(_ output: borrowing FixedBytes, at index: Int, _ digits: StaticString) -> Bool {
        guard output[index] == Byte.percent, index + 2 < output.count else { return false }
        // A static string lives as long as the process; both literals have two bytes.
        return unsafe digits.utf8Start[0] == output[index + 1] && digits.utf8Start[1] == output[index + 2]
    }
}

extension PathPattern {
    /// Whether every path that this pattern matches is matched by the other as well.
    func isWithin(_ other: PathPattern) -> Bool {
        for (index, segment) in other.segments.enumerated() {
            guard index < segments.count, segment == .any || segment == segments[index] else { return false }
        }
        if other.end == .rest { return true }
        return segments.count == other.segments.count && end != .rest
    }

    /// Whether this pattern goes first for a path that both match: a literal before `*` before `**`, from the left.
    func precedes(_ other: PathPattern) -> Bool {
        for index in 0..<max(segments.count, other.segments.count) {
            let rank = rank(at: index)
            let otherRank = other.rank(at: index)
            if rank != otherRank { return rank < otherRank }
        }
        return end != .rest && other.end == .rest
    }

    private func rank(at index: Int) -> Int {
        guard index < segments.count else { return 2 }
        return segments[index] == .any ? 1 : 0
    }
}

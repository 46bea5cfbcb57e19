/// A limit as `RateLimit-Policy` and `RateLimit` tell of it (draft-ietf-httpapi-ratelimit-headers, structured form).
///
/// Several limits of one exchange are items of one list: join them with a comma and a blank.
struct RateLimitPolicy: Sendable {
    /// The item of `RateLimit-Policy`: name, quota `q`, window `w` in seconds.
    let policyItem: [UInt8]
    private let name: [UInt8]

    /// - Parameters:
    ///   - name: the limit's name in the file.
    ///   - count: permitted requests in a window.
    ///   - window: at least a second; rounded up to whole ones.
    init(name: String, count: Int, window: Duration) {
        let quoted = AnswerText.quoted(name)
        self.name = Array(quoted.utf8)
        policyItem = Array("\(quoted);q=\(max(0, count));w=\(window.wholeSeconds(atLeast: 1))".utf8)
    }

    /// Appends the item of `RateLimit`: what is left, and the seconds until there is more.
    func appendState(remaining: Int, reset: Duration, to output: inout [UInt8]) {
        output += name
        output += ";r=".utf8
        RateLimitPolicy.append(UInt64(max(0, remaining)), to: &output)
        output += ";t=".utf8
        RateLimitPolicy.append(UInt64(reset.wholeSeconds(atLeast: 0)), to: &output)
    }

    private static func append(_ number: UInt64, to output: inout [UInt8]) {
        if number > 9 { append(number / 10, to: &output) }
        output.append(UInt8(ascii: "0") + UInt8(number % 10))
    }
}

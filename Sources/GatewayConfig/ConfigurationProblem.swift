/// Something about the configuration that an operator should change.
public struct ConfigurationProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// Whether the file can be used in spite of it.
    public enum Severity: String, Sendable {
        /// The file is refused.
        case error
        /// The file is used; it probably does not mean what was intended.
        case warning
    }

    /// Whether the file can be used in spite of it.
    public var severity: Severity
    /// The file's name as it was given, or `environment`.
    public var file: String
    /// Line 0 where a line makes no sense, as in the environment.
    public var location: SourceLocation
    /// What was found. Holds no secret.
    public var message: String
    /// What is allowed, or what to do.
    public var cure: String

    /// Memberwise.
    public init(severity: Severity, file: String, location: SourceLocation, message: String, cure: String) {
        self.severity = severity
        self.file = file
        self.location = location
        self.message = message
        self.cure = cure
    }

    /// One line: `gateway.yaml:31:5: routes[2].upstream: no upstream is called 'bill'; define it under 'upstreams'`.
    public var description: String {
        var text = file
        if location.line > 0 { text += ":\(location.line):\(location.column)" }
        if severity == .warning { text += ": warning" }
        if !location.path.isEmpty { text += ": \(location.path)" }
        return "\(text): \(message); \(cure)"
    }
}

extension [ConfigurationProblem] {
    /// One line for each; of very many as many as somebody reads, errors first, and how many there are besides.
    public var report: String {
        guard count > ConfigurationProblem.reportedMax else { return map(\.description).joined(separator: "\n") }
        let errors = filter { $0.severity == .error }
        let shown = (errors + filter { $0.severity == .warning }).prefix(ConfigurationProblem.reportedMax)
        return shown.map(\.description).joined(separator: "\n") + "\n… and \(count - shown.count) more"
    }
}

extension ConfigurationProblem {
    /// Problems that one report shows.
    public static let reportedMax = 200
}

extension Unicode.Scalar {
    /// Controls, line ends, and what changes or hides the text around it.
    var isInvisible: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate, .unassigned: true
        default: false
        }
    }
}

extension String {
    /// Text from a file for a message: control and invisible characters as `\u{…}`, cut after `max` characters.
    func escaped(max: Int) -> String {
        var text = ""
        for scalar in unicodeScalars.prefix(max) {
            if scalar.isInvisible {
                text += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return unicodeScalars.count > max ? text + "…" : text
    }

    /// The same in quotes.
    var quoted: String { "'\(escaped(max: 80))'" }
}

import GatewayConfig

/// What is wrong, or worth a second look, in the routes of a file that is well-formed in itself.
struct RouteProblem: Sendable, Equatable {
    enum Severity: Sendable { case error, warning }

    /// An error keeps the file from loading.
    var severity: Severity
    /// The route, rule or test in question.
    var location: SourceLocation
    /// What was found.
    var message: String
    /// What to write instead, or what to check.
    var cure: String
}

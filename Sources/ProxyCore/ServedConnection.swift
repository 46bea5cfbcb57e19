/// A connection that a worker serves, whatever it speaks.
protocol ServedConnection: AnyObject {
    var listener: ListenerSocket { get }
    /// What the TLS handshake came to; `nil` without TLS, and while it runs.
    var handshake: HandshakeFacts? { get }
    /// Whether the handshake ran under a policy that a context still has; false while it runs.
    func isUnderPolicy(of context: TLSContext?) -> Bool
    /// Ends with the exchange under way: the gateway stops, or what the connection came under is over.
    func drain()
    /// Calls `body` with each exchange under way; it may cut the exchange.
    func forEachExchange(_ body: (Exchange) -> Void)
}

/// A connection that a worker serves, whatever it speaks.
protocol ServedConnection: AnyObject {
    var listener: ListenerSocket { get }
    /// Ends with the exchange under way: the gateway stops, or what the connection came under is over.
    func drain()
    /// Calls `body` with each exchange under way; it may cut the exchange.
    func forEachExchange(_ body: (Exchange) -> Void)
}

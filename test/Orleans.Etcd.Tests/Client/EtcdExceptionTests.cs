using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

public sealed class EtcdExceptionTests
{
    [Fact]
    public void Exception_ThroughOrleans_KeepsWhatItSays()
    {
        using var services = new ServiceCollection().AddSerializer().BuildServiceProvider();
        var serializer = services.GetRequiredService<Serializer>();
        var sent = new EtcdException(EtcdErrorCode.ResourceExhausted, "Txn", "the database is full", outcomeUnknown: true);
        var received = Assert.IsType<EtcdException>(serializer.Deserialize<Exception>(serializer.SerializeToArray<Exception>(sent)));
        Assert.Equal((sent.Code, sent.Operation, sent.Message, sent.OutcomeUnknown, sent.IsTransient), (received.Code, received.Operation, received.Message, received.OutcomeUnknown, received.IsTransient));
    }
}

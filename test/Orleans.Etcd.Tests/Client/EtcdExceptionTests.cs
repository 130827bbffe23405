using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Testing;
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

    [Fact]
    public async Task Exception_OfACallThatFailed_ThroughOrleans_IsStillOurs()
    {
        // As a silo or a client has it, and the exception with all that gRPC and sockets have put into it.
        await using var services = new ServiceCollection().AddSerializer().AddEtcdClient(options => options.Endpoints = [$"http://127.0.0.1:{LoopbackPort.Take()}"]).BuildServiceProvider();
        var serializer = services.GetRequiredService<Serializer>();
        var sent = await Assert.ThrowsAsync<EtcdException>(() => services.GetRequiredService<EtcdConnection>().GetAsync("key"));
        Assert.IsType<Grpc.Core.RpcException>(sent.InnerException);
        var received = Assert.IsType<EtcdException>(serializer.Deserialize<Exception>(serializer.SerializeToArray<Exception>(sent)));
        Assert.Equal((sent.Code, sent.Message), (received.Code, received.Message));
        Assert.NotNull(received.InnerException);
    }
}

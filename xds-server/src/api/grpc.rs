//! The API by gRPC.

use proto::control::v1::control_server::{Control, ControlServer};
use proto::control::v1::registry_server::{Registry as Service, RegistryServer};
use proto::control::v1::{
    ApplyRequest, ApplyResponse, ConfigObject, DeleteConfigRequest, DeleteConfigResponse,
    GetConfigRequest, ListConfigRequest, ListConfigResponse, ListNodesRequest, ListNodesResponse,
    ListRevisionsRequest, ListRevisionsResponse, Revision, UpdateConfigRequest,
    UpdateConfigResponse, WatchConfigRequest,
};
use proto::control::v1::{
    DeregisterRequest, DeregisterResponse, LeaseRequest, LeaseResponse, ListInstancesRequest,
    ListInstancesResponse, RegisterRequest, RegisterResponse, RenewRequest, RenewResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::config::Config;
use super::error::{Error, Problem};
use super::instances::{Instances, StreamEnd};
use super::rest::BODY_BYTES_MAX;
use super::rest_config::MESH_BYTES_MAX;
use crate::registry::Keeper;

/// Names of the services, as reflection and health know them.
pub const SERVICE_NAMES: [&str; 2] = ["gomesh.control.v1.Control", "gomesh.control.v1.Registry"];

/// The configuration's service.
#[must_use]
pub fn control(config: Config, stop: CancellationToken) -> ControlServer<impl Control> {
    ControlServer::new(ControlService { config, stop })
        .max_decoding_message_size(MESH_BYTES_MAX)
        .max_encoding_message_size(usize::MAX)
}

struct ControlService {
    config: Config,
    /// Cancelled when the server stops.
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Control for ControlService {
    type WatchConfigStream = ReceiverStream<Result<Revision, Status>>;

    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<ConfigObject>, Status> {
        Ok(Response::new(self.config.get(request.get_ref())?))
    }

    async fn list_config(
        &self,
        request: Request<ListConfigRequest>,
    ) -> Result<Response<ListConfigResponse>, Status> {
        Ok(Response::new(self.config.list(request.get_ref())?))
    }

    async fn update_config(
        &self,
        request: Request<UpdateConfigRequest>,
    ) -> Result<Response<UpdateConfigResponse>, Status> {
        Ok(Response::new(self.config.update(request.into_inner()).await?))
    }

    async fn delete_config(
        &self,
        request: Request<DeleteConfigRequest>,
    ) -> Result<Response<DeleteConfigResponse>, Status> {
        Ok(Response::new(self.config.delete(request.into_inner()).await?))
    }

    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        Ok(Response::new(self.config.apply(request.into_inner()).await?))
    }

    async fn list_revisions(
        &self,
        _: Request<ListRevisionsRequest>,
    ) -> Result<Response<ListRevisionsResponse>, Status> {
        Ok(Response::new(self.config.revisions()?))
    }

    async fn watch_config(
        &self,
        request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let mut revisions = self.config.watch(request.get_ref().after)?;
        let (replies, receiver) = mpsc::channel(1);
        let stop = self.stop.clone();
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    next = revisions.next() => next.unwrap_or_default(),
                    // Cancel-safe: it is over.
                    () = replies.closed() => return,
                    () = stop.cancelled() => Vec::new(),
                };
                if next.is_empty() {
                    let _ = replies.try_send(Err(Status::unavailable("the server is stopping")));
                    return;
                }
                for revision in next {
                    if replies.send(Ok((*revision).clone())).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_nodes(
        &self,
        _: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        Ok(Response::new(self.config.nodes()))
    }
}

/// The registry's service.
#[must_use]
pub fn registry(instances: Instances, stop: CancellationToken) -> RegistryServer<impl Service> {
    RegistryServer::new(RegistryService { instances, stop })
        .max_decoding_message_size(BODY_BYTES_MAX)
}

struct RegistryService {
    instances: Instances,
    /// Cancelled when the server stops.
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Service for RegistryService {
    type LeaseStream = ReceiverStream<Result<LeaseResponse, Status>>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let (given, _) = self.instances.register(request.into_inner(), Keeper::Renewals).await?;
        Ok(Response::new(given))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        Ok(Response::new(self.instances.renew(request.get_ref()).await?))
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        Ok(Response::new(self.instances.deregister(request.get_ref()).await?))
    }

    async fn list_instances(
        &self,
        request: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        Ok(Response::new(self.instances.list(request.get_ref())?))
    }

    async fn lease(
        &self,
        request: Request<Streaming<LeaseRequest>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let (replies, receiver) = mpsc::channel(1);
        let lease = Lease { instances: self.instances.clone(), held: None };
        tokio::spawn(lease.run(request.into_inner(), replies, self.stop.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A stream that is a lease.
struct Lease {
    instances: Instances,
    /// Service, instance and lease, once registered.
    held: Option<(String, String, String)>,
}

impl Lease {
    async fn run(
        mut self,
        mut requests: Streaming<LeaseRequest>,
        replies: mpsc::Sender<Result<LeaseResponse, Status>>,
        stop: CancellationToken,
    ) {
        let end = loop {
            let message = tokio::select! {
                message = requests.message() => message,
                // Cancel-safe: the message stays in the stream. Someone who takes no replies any
                // more is gone.
                () = replies.closed() => break StreamEnd::Lost,
                () = stop.cancelled() => {
                    // The instance is well: it is the server that goes.
                    let _ = replies.try_send(Err(Status::unavailable("the server is stopping")));
                    return;
                }
            };
            let answer = match message {
                Ok(Some(message)) => self.take(message).await,
                Ok(None) => break StreamEnd::Finished,
                Err(_) => break StreamEnd::Lost,
            };
            let failed = answer.is_err();
            let sent = replies.send(answer.map_err(Status::from)).await;
            if failed || sent.is_err() {
                break StreamEnd::Lost;
            }
        };
        if let Some((service, id, lease)) = &self.held {
            self.instances.end(service, id, lease, end).await;
        }
    }

    async fn take(&mut self, message: LeaseRequest) -> Result<LeaseResponse, Error> {
        let LeaseRequest { mut service, mut id, registration } = message;
        if let Some((held_service, held_id, _)) = &self.held {
            for (name, path, held) in
                [(&mut service, "service", held_service), (&mut id, "id", held_id)]
            {
                if name.is_empty() {
                    name.clone_from(held);
                } else if name != held {
                    let message = format!("the stream is the lease of '{held}'; open another");
                    return Err(Error::invalid(vec![Problem::new(path, message)]));
                }
            }
        }
        let request = RegisterRequest { service: service.clone(), id: id.clone(), registration };
        let keeper = match &self.held {
            Some((_, _, lease)) => Keeper::SameStream(lease.as_str().into()),
            None => Keeper::NewStream,
        };
        let (given, _) = self.instances.register(request, keeper).await?;
        self.held = Some((service, id, given.lease_id.clone()));
        Ok(LeaseResponse { lease_id: given.lease_id })
    }
}
